//! `masq-testnet chain`: the development chain by itself, with its contracts.

use serde_json::json;

use super::{Out, stop_asked, unless_stopped};
use crate::args::ChainArgs;
use crate::devchain::FAUCET_KEY;
use crate::devchain::deploy::Faucet;
use crate::error::TestnetError;
use crate::money::{ChainOptions, RunningChain};

/// `masq-testnet chain`.
///
/// # Errors
/// When the chain does not start, the contracts cannot be deployed, or anvil ends although nobody
/// asked.
pub async fn chain(args: ChainArgs, out: Out<'_>) -> Result<(), TestnetError> {
    let options = ChainOptions {
        port: args.port,
        block_time: args.block_time,
        finality: args.finality,
    };
    let mut running = if args.anvil {
        RunningChain::anvil(args.anvil_program, &options).await?
    } else {
        RunningChain::dev(&options).await?
    };
    let deployed = unless_stopped(async {
        let faucet = running.deploy().await?;
        announce(out, &running.url(), &faucet, args.json)
            .map_err(TestnetError::file("cannot write", "standard output"))
    })
    .await;
    let ended = match deployed {
        Ok(()) => tokio::select! {
            ended = running.ended() => Err(ended),
            () = stop_asked() => Ok(()),
        },
        Err(error) => Err(error),
    };
    running.stop().await;
    ended
}

fn announce(out: Out<'_>, url: &str, faucet: &Faucet, machine: bool) -> std::io::Result<()> {
    let contracts = faucet.contracts();
    if machine {
        let report = json!({
            "url": url,
            "chain_id": faucet.chain_id(),
            "token": contracts.token.to_string(),
            "disperse": contracts.disperse.to_string(),
            "since_block": contracts.since,
            "faucet": faucet.address().to_string(),
            "faucet_key": FAUCET_KEY,
        });
        writeln!(out, "{report}")?;
        return out.flush();
    }
    writeln!(out, "endpoint     {url}")?;
    writeln!(out, "chain id     {}", faucet.chain_id())?;
    writeln!(out, "token        {}", contracts.token)?;
    writeln!(out, "disperse     {}", contracts.disperse)?;
    writeln!(out, "faucet       {}", faucet.address())?;
    writeln!(out, "faucet's key {FAUCET_KEY}")?;
    writeln!(
        out,
        "\nEverybody knows this key: use it here and nowhere else. Try:\n  \
         curl -s {url} -H 'content-type: application/json' \\\n    \
         -d '{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_blockNumber\",\"params\":[]}}'\n\
         Ctrl-C ends it."
    )?;
    out.flush()
}
