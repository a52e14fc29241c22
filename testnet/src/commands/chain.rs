//! `masq-testnet chain`: the development chain by itself, with its contracts.

use serde_json::json;

use super::{Out, stop_asked, unless_stopped};
use crate::args::ChainArgs;
use crate::devchain::deploy::Faucet;
use crate::devchain::{Anvil, AnvilConfig, DevChain, DevChainConfig, FAUCET_KEY};
use crate::error::TestnetError;

/// Whichever chain was asked for.
enum Running {
    Dev(DevChain),
    Anvil(Anvil),
}

impl Running {
    async fn start(args: &ChainArgs) -> Result<Self, TestnetError> {
        if args.anvil {
            if args.block_time.subsec_nanos() != 0 {
                let reason = "anvil takes whole seconds only; give --block-time a whole number";
                return Err(TestnetError::Options(reason.to_owned()));
            }
            let config = AnvilConfig {
                program: args.anvil_program.clone(),
                port: args.port,
                block_time: args.block_time,
            };
            return Ok(Self::Anvil(Anvil::start(&config).await?));
        }
        let defaults = DevChainConfig::default();
        let mut listen = defaults.listen;
        listen.set_port(args.port);
        let config = DevChainConfig {
            listen,
            block_time: args.block_time,
            finality: args.finality,
            states_kept: defaults.states_kept.max(args.finality),
            blocks_kept: defaults.blocks_kept.max(args.finality),
            ..defaults
        };
        DevChain::start(config)
            .await
            .map(Self::Dev)
            .map_err(|error| match error {
                crate::devchain::DevChainError::Listen { addr, source } => TestnetError::Listen {
                    what: "the development chain",
                    addr,
                    option: "--port",
                    source,
                },
                error => error.into(),
            })
    }

    fn url(&self) -> String {
        match self {
            Self::Dev(chain) => chain.url(),
            Self::Anvil(anvil) => anvil.url(),
        }
    }

    /// Resolves when the chain ends by itself.
    async fn ended(&mut self) -> TestnetError {
        match self {
            // It lives in this process.
            Self::Dev(_) => std::future::pending().await,
            Self::Anvil(anvil) => TestnetError::ChainEnded {
                status: anvil.ended().await,
            },
        }
    }

    async fn stop(self) {
        match self {
            Self::Dev(chain) => chain.stop().await,
            Self::Anvil(anvil) => anvil.stop().await,
        }
    }
}

/// `masq-testnet chain`.
///
/// # Errors
/// When the chain does not start, the contracts cannot be deployed, or anvil ends although nobody
/// asked.
pub async fn chain(args: ChainArgs, out: Out<'_>) -> Result<(), TestnetError> {
    let mut running = Running::start(&args).await?;
    let deployed = unless_stopped(async {
        let faucet = Faucet::deploy(&running.url(), &FAUCET_KEY).await?;
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
