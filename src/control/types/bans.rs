//! What travels about bans.

use serde::{Deserialize, Serialize};

/// Why a node is banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum BanKind {
    /// It signed two different records with one version.
    Equivocation,
    /// It signed a record that lists more than five neighbours.
    OverCap,
    /// It went on claiming to have carried more than this node had counted.
    Overcharged,
    /// The operator of this node wanted it.
    ByHand,
}

/// One ban, in `GET /v1/bans`, and as the answer to a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BanView {
    /// The banned node's key.
    pub node: String,
    /// Why.
    pub kind: BanKind,
    /// The same in words; of a ban by hand, the reason that was given.
    pub reason: String,
    /// How long it has been banned.
    pub since_seconds: u64,
    /// How long it still is. Absent when the ban has no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_seconds: Option<u64>,
    /// Hexadecimal: what anybody can check. Left out unless the request asked for it with
    /// `?evidence=true`, and absent for a ban by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

/// Body of `POST /v1/bans`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BanRequest {
    /// The node's key, or 8 or more characters with which the key of one known node begins.
    #[serde(default)]
    pub node: String,
    /// Why, for the operator's own memory; cut to 200 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For how long. Absent: until the ban is lifted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life_seconds: Option<u64>,
}
