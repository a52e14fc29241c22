//! Whether a node that starts knows anybody to join by. The configuration alone
//! can't say: a node remembers neighbours of its own.

use crate::config::{Config, Mode};
use crate::daemon::StartError;

/// What a node that knows nobody may do about it.
const REMEDY: &str = "Set it to the descriptor of a node of this network; whoever runs one gets \
                      it from `masq descriptor`.";

/// Checks that the node can come to a neighbour. `remembered`: how many past neighbours it has.
/// Gives a hint where it can only wait.
///
/// # Errors
/// [`StartError::Setting`] when it never could: it knows nobody, and nobody can come to it.
pub(super) fn check(config: &Config, remembered: usize) -> Result<Option<String>, StartError> {
    let mode = config.mode;
    if mode == Mode::ZeroHop || remembered > 0 || !config.neighbours.is_empty() {
        return Ok(None);
    }
    if mode.accepts_connections() {
        return Ok(Some(
            "This node knows nobody: it waits for others to come. To join a network that is \
             there, set `neighbours`."
                .into(),
        ));
    }
    Err(StartError::Setting {
        setting: "neighbours",
        what: format!(
            "A node in mode {mode} must know a node to join by: it accepts no connections, it was \
             given no descriptor, and it remembers nobody."
        ),
        remedy: REMEDY.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(mode: Mode) -> Config {
        let mut config = Config::new("unused");
        config.mode = mode;
        config
    }

    #[test]
    fn who_accepts_nobody_must_know_somebody() {
        for mode in [Mode::OriginateOnly, Mode::ConsumeOnly] {
            let error = check(&node(mode), 0).unwrap_err().to_string();
            assert!(error.starts_with("neighbours: "), "{error}");
            assert!(error.contains(mode.as_str()) && error.contains("masq descriptor"));
            assert_eq!(check(&node(mode), 1).unwrap(), None);
            let mut told = node(mode);
            let key = "WGZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmY";
            let descriptor = format!("masq://base-mainnet:{key}@192.0.2.1:6277");
            told.neighbours = vec![descriptor.parse().unwrap()];
            assert_eq!(check(&told, 0).unwrap(), None);
        }
        for mode in [Mode::Standard, Mode::ServeOnly] {
            let hint = check(&node(mode), 0).unwrap();
            assert!(hint.is_some_and(|hint| hint.contains("neighbours")));
            assert_eq!(check(&node(mode), 1).unwrap(), None);
        }
        assert_eq!(check(&node(Mode::ZeroHop), 0).unwrap(), None);
    }
}
