//! Attackers for the simulator: what somebody can learn, break or take over who
//! speaks the protocol as it suits them. Each is an [`Actor`](super::Actor).
