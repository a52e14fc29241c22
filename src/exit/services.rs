//! Services that this node itself offers to whoever has a circuit to it, by
//! name: the hook on which the library's users and later protocols hang
//! theirs. What a service does is its own business.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use futures::future::BoxFuture;
use masq_cores::flow::{FlowStream, MAX_SERVICE, SessionInfo};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Services offered at once (guess: enough for any one node; each costs a few
/// hundred bytes).
pub const MAX_SERVICES: usize = 64;

/// Calls of one service at once by default (guess).
pub const DEFAULT_MAX_CALLS: usize = 256;

/// Something that answers flows.
pub trait Service: Send + Sync + 'static {
    /// Answers one call. `flow` is open; the future's end, or dropping the
    /// flow without a close, ends it.
    fn call(&self, flow: FlowStream, session: SessionInfo) -> BoxFuture<'static, ()>;
}

/// Why a service was not added. The caller's to put right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The name is empty, too long, or has characters other than printable
    /// ASCII.
    #[error("a service's name has 1 to {MAX_SERVICE} printable ASCII characters")]
    BadName,
    /// There is a service of that name.
    #[error("a service of that name is offered already")]
    Taken,
    /// [`MAX_SERVICES`] are offered.
    #[error("no more than {MAX_SERVICES} services can be offered")]
    Full,
}

struct Offered {
    service: Arc<dyn Service>,
    calls: Arc<Semaphore>,
}

/// The services a node offers. Cheap to clone; all clones are the same.
#[derive(Clone, Default)]
pub struct Services {
    offered: Arc<RwLock<BTreeMap<String, Offered>>>,
}

/// What came of looking a service up.
pub(super) enum Found {
    /// It may be called while the permit is held.
    Free(Arc<dyn Service>, OwnedSemaphorePermit),
    /// It has as many calls as it takes.
    Busy,
    /// There is none of that name.
    Unknown,
}

impl Services {
    /// Offers `service` as `name`, with at most `max_calls` at once.
    ///
    /// # Errors
    ///
    /// [`ServiceError`].
    pub fn offer(
        &self,
        name: &str,
        service: Arc<dyn Service>,
        max_calls: usize,
    ) -> Result<(), ServiceError> {
        let fits = (1..=MAX_SERVICE).contains(&name.len());
        if !fits || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ServiceError::BadName);
        }
        let mut offered = self.offered.write().unwrap_or_else(PoisonError::into_inner);
        if offered.contains_key(name) {
            return Err(ServiceError::Taken);
        }
        if offered.len() >= MAX_SERVICES {
            return Err(ServiceError::Full);
        }
        let calls = Arc::new(Semaphore::new(max_calls.min(Semaphore::MAX_PERMITS)));
        offered.insert(name.to_owned(), Offered { service, calls });
        Ok(())
    }

    /// Offers it no longer; calls under way go on. Says whether it was
    /// offered.
    pub fn withdraw(&self, name: &str) -> bool {
        self.offered
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name)
            .is_some()
    }

    pub(super) fn find(&self, name: &str) -> Found {
        let offered = self.offered.read().unwrap_or_else(PoisonError::into_inner);
        let Some(found) = offered.get(name) else {
            return Found::Unknown;
        };
        match Arc::clone(&found.calls).try_acquire_owned() {
            Ok(permit) => Found::Free(Arc::clone(&found.service), permit),
            Err(_) => Found::Busy,
        }
    }
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let offered = self.offered.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_set().entries(offered.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    struct Nothing;

    impl Service for Nothing {
        fn call(&self, _: FlowStream, _: SessionInfo) -> BoxFuture<'static, ()> {
            async {}.boxed()
        }
    }

    #[test]
    fn names_are_checked_unique_and_bounded() {
        let services = Services::default();
        let offer = |name: &str| services.offer(name, Arc::new(Nothing), 1);
        for bad in ["", "a b", "ü", &"x".repeat(MAX_SERVICE + 1)] {
            assert_eq!(offer(bad), Err(ServiceError::BadName));
        }
        for n in 0..MAX_SERVICES {
            assert_eq!(offer(&format!("s{n}")), Ok(()));
        }
        assert_eq!(offer("s0"), Err(ServiceError::Taken));
        assert_eq!(offer("more"), Err(ServiceError::Full));
        assert!(services.withdraw("s0") && !services.withdraw("s0"));
    }

    #[test]
    fn calls_are_bounded() {
        let services = Services::default();
        services.offer("echo", Arc::new(Nothing), 1).unwrap();
        let first = services.find("echo");
        assert!(matches!(first, Found::Free(..)));
        assert!(matches!(services.find("echo"), Found::Busy));
        drop(first);
        assert!(matches!(services.find("echo"), Found::Free(..)));
        assert!(matches!(services.find("other"), Found::Unknown));
    }
}
