//! Parameters of a JSON-RPC call, by position.

use alloy::primitives::{U64, U256};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::devchain::error::RpcError;

/// The parameters of one call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Params<'a>(&'a [Value]);

impl<'a> Params<'a> {
    /// Takes what stands under `params`.
    ///
    /// # Errors
    /// When it is neither a list nor missing.
    pub(crate) fn of(params: Option<&'a Value>) -> Result<Self, RpcError> {
        match params {
            None | Some(Value::Null) => Ok(Self(&[])),
            Some(Value::Array(list)) => Ok(Self(list)),
            Some(_) => Err(RpcError::params("non-array args")),
        }
    }

    pub(super) fn opt<T: DeserializeOwned>(
        &self,
        index: usize,
        name: &str,
    ) -> Result<Option<T>, RpcError> {
        match self.0.get(index) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(value).map(Some).map_err(|error| {
                RpcError::params(format!("invalid argument {index} ({name}): {error}"))
            }),
        }
    }

    pub(super) fn get<T: DeserializeOwned>(&self, index: usize, name: &str) -> Result<T, RpcError> {
        self.opt(index, name)?.ok_or_else(|| {
            RpcError::params(format!(
                "missing value for required argument {index} ({name})"
            ))
        })
    }

    /// A number, as hexadecimal digits after `0x`, decimal digits or a JSON number.
    pub(super) fn number(&self, index: usize, name: &str) -> Result<u64, RpcError> {
        self.get::<U64>(index, name).map(|n| n.to())
    }

    /// An amount in wei, in the same forms.
    pub(super) fn wei(&self, index: usize, name: &str) -> Result<U256, RpcError> {
        self.get(index, name)
    }

    /// Refuses what follows the first `count` parameters, where ignoring it would give a wrong
    /// answer.
    pub(super) fn none_beyond(&self, count: usize, what: &str) -> Result<(), RpcError> {
        let empty = |value: &Value| match value {
            Value::Null => true,
            Value::Object(map) => map.is_empty(),
            _ => false,
        };
        if self.0.iter().skip(count).all(empty) {
            Ok(())
        } else {
            Err(RpcError::params(format!("{what} are not supported")))
        }
    }
}
