//! Links that take time: what is written comes out some milliseconds later, in pieces.

use std::time::Duration;

use futures::io::{ReadHalf, WriteHalf};
use futures::{AsyncReadExt, AsyncWriteExt};
use masq_cores::Wire;
use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use tokio::time::sleep;

use super::pipe;

/// The far end of `near`, behind a link that takes time.
pub fn splice(near: Wire, seed: u64) -> Wire {
    let (inner, far) = pipe();
    let (near_read, near_write) = near.split();
    let (far_read, far_write) = inner.split();
    tokio::spawn(carry(near_read, far_write, seed.wrapping_mul(2)));
    tokio::spawn(carry(far_read, near_write, seed.wrapping_mul(2) + 1));
    far
}

async fn carry(mut from: ReadHalf<Wire>, mut to: WriteHalf<Wire>, seed: u64) {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut piece = vec![0; 40_000];
    loop {
        let most = rng.random_range(1..piece.len());
        let Ok(n @ 1..) = from.read(&mut piece[..most]).await else {
            let _ = to.close().await;
            return;
        };
        sleep(Duration::from_millis(rng.random_range(0..15))).await;
        if to.write_all(&piece[..n]).await.is_err() {
            return;
        }
    }
}
