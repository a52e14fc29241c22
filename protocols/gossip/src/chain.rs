//! The chains a mesh can live on. Nodes of different chains never become
//! neighbours. Nothing about the chains themselves (addresses, providers) is here.

use std::fmt;
use std::str::FromStr;

/// An EVM chain by its name in descriptors and records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Chain {
    /// `base-mainnet`
    BaseMainnet,
    /// `base-sepolia`
    BaseSepolia,
    /// `polygon-mainnet`
    PolygonMainnet,
    /// `polygon-amoy`
    PolygonAmoy,
    /// `eth-mainnet`
    EthMainnet,
    /// `dev`: the development chain; no money.
    Dev,
}

/// The name of a chain that this program does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a chain; the chains are {names}", names = Chain::names())]
pub struct UnknownChain(pub String);

impl Chain {
    /// Every chain, in the order in which they are listed to people.
    pub const ALL: [Self; 6] = [
        Self::BaseMainnet,
        Self::BaseSepolia,
        Self::PolygonMainnet,
        Self::PolygonAmoy,
        Self::EthMainnet,
        Self::Dev,
    ];

    /// The name as written in descriptors and records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BaseMainnet => "base-mainnet",
            Self::BaseSepolia => "base-sepolia",
            Self::PolygonMainnet => "polygon-mainnet",
            Self::PolygonAmoy => "polygon-amoy",
            Self::EthMainnet => "eth-mainnet",
            Self::Dev => "dev",
        }
    }

    fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Chain {
    type Err = UnknownChain;

    fn from_str(text: &str) -> Result<Self, UnknownChain> {
        Self::ALL
            .into_iter()
            .find(|chain| chain.name() == text)
            .ok_or_else(|| UnknownChain(text.chars().take(32).collect()))
    }
}
