//! The commands of `masq-testnet`: arguments in, library calls, text out.

mod chain;
mod money;

use std::io::Write;
use std::path::PathBuf;
use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use futures::future::join_all;
use masq::control::types::Status;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command as Process};
use tokio::signal::unix::{SignalKind, signal};

pub use chain::chain;

use crate::args::{
    BenchArgs, BenchMoneyArgs, BenchWhat, DemoArgs, DownArgs, FundArgs, MeshArgs, Ready,
    ServeWebArgs, StatusArgs, UpArgs,
};
use crate::attack::{self, AttackArgs, AttackOptions};
use crate::bench::money::MoneyBenchOptions;
use crate::bench::{self, BenchOptions};
use crate::client::NodeClient;
use crate::demo;
use crate::error::TestnetError;
use crate::money::Chain;
use crate::network::{Progress, Testnet};
use crate::plan::{Options, Program, WaitFor};
use crate::process::{Memory, ProcessId};
use crate::report::{ProgressLine, Row, dir_option, node_table, try_lines};
use crate::soak::{self, SoakArgs, SoakOptions};
use crate::state::{NetworkState, Registry};
use crate::stress::{self, StressArgs, StressOptions};
use crate::typed::Programs;
use crate::web::WebServer;

/// How long the background process may take to end its nodes: a little more
/// than the nodes are given.
const DOWN_GRACE: Duration = Duration::from_secs(20);

type Out<'a> = &'a mut (dyn Write + Send);

/// What the background process tells the one that started it, a line of JSON
/// each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Message {
    Progress(Progress),
    Up { dir: PathBuf },
    Failed { reason: String, code: u8 },
}

fn options(args: &MeshArgs) -> Result<Options, TestnetError> {
    let program = match &args.masqd {
        Some(path) => Program::Masqd(path.clone()),
        None => Program::Multicall(
            std::env::current_exe().map_err(TestnetError::file("cannot find", "masq-testnet"))?,
        ),
    };
    Ok(Options {
        nodes: args.nodes,
        exits: args.exits,
        consumers: args.consumers,
        hops: args.hops.clone(),
        dir: args.dir.clone(),
        log_level: args.log.clone(),
        ready_within: Duration::from_secs(args.ready_within),
        wait_for: match args.ready {
            Ready::Routes => WaitFor::Routes,
            Ready::Neighbours => WaitFor::Neighbours,
            Ready::Processes => WaitFor::Processes,
        },
        ..Options::new(program)
    })
}

/// Resolves when the user or the system asks this process to stop.
async fn stop_asked() {
    let wait = |kind| async move {
        match signal(kind) {
            Ok(mut stream) => {
                stream.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = wait(SignalKind::interrupt()) => {}
        () = wait(SignalKind::terminate()) => {}
        () = wait(SignalKind::hangup()) => {}
    }
}

async fn unless_stopped<T>(
    work: impl Future<Output = Result<T, TestnetError>>,
) -> Result<T, TestnetError> {
    tokio::select! {
        result = work => result,
        () = stop_asked() => Err(TestnetError::Interrupted),
    }
}

/// `masq-testnet up`.
///
/// # Errors
/// When the mesh does not come up, or ends although nobody asked.
pub async fn up(args: UpArgs, out: Out<'_>) -> Result<(), TestnetError> {
    if args.supervised {
        return supervise(args, out).await;
    }
    if args.mesh.dir.is_none()
        && let Some(state) = Registry::of_user()?.current()?
    {
        return Err(TestnetError::AlreadyUp {
            dir: state.dir,
            pid: state.supervisor.pid,
        });
    }
    if let Some(dir) = &args.mesh.dir
        && let Ok(state) = NetworkState::load(dir)
        && state.is_alive()
    {
        return Err(TestnetError::AlreadyUp {
            dir: state.dir,
            pid: state.supervisor.pid,
        });
    }
    if args.detach {
        return detach(out).await;
    }
    let mut line = ProgressLine::new();
    let net = bring_up(args, &mut |p| line.show(p)).await;
    line.finish();
    let (mut net, registry) = net?;
    let state = net.state()?;
    let _ = announce(out, &state, Some("Ctrl-C ends it."));
    let ended = tokio::select! {
        ended = net.any_ended() => Err(ended),
        () = stop_asked() => Ok(()),
    };
    take_down(net, &registry, out, ended).await
}

/// Starts a mesh, waits for it, and writes down where it is.
async fn bring_up(
    args: UpArgs,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<(Testnet, Registry), TestnetError> {
    let registry = Registry::of_user()?;
    let mut options = options(&args.mesh)?;
    (options.socks, options.http) = (args.socks.0, args.http.0);
    options.chain = args.money.into();
    options.credit = args.credit.credit;
    options.prepay_budget = args.credit.prepay_budget.map(|amount| amount.0);
    let mut net = unless_stopped(Testnet::start(options)).await?;
    let formed = async {
        net.state()?.save()?;
        if registry.current()?.is_none() {
            registry.remember(net.dir())?;
        }
        unless_stopped(net.form(progress)).await?;
        net.state()?.save()
    }
    .await;
    match formed {
        Ok(()) => Ok((net, registry)),
        Err(error) => {
            if !matches!(error, TestnetError::Interrupted) {
                net.keep_dir();
            }
            registry.forget(net.dir());
            net.down().await;
            Err(error)
        }
    }
}

async fn take_down(
    mut net: Testnet,
    registry: &Registry,
    out: Out<'_>,
    ended: Result<(), TestnetError>,
) -> Result<(), TestnetError> {
    if ended.is_err() {
        net.keep_dir();
    }
    registry.forget(net.dir());
    let killed = net.down().await;
    for node in killed {
        let _ = writeln!(out, "{node} did not stop when asked and was killed");
    }
    ended
}

/// Says that it is up and how it ends: by `down` unless `end` says otherwise.
fn announce(out: Out<'_>, state: &NetworkState, end: Option<&str>) -> std::io::Result<()> {
    let programs = Programs::here();
    let down = || {
        format!(
            "`{} down{}` ends them.",
            programs.testnet,
            dir_option(state)
        )
    };
    let end = end.map_or_else(down, str::to_owned);
    writeln!(out, "{} nodes are up. {end}\n", state.nodes.len())?;
    try_lines(out, state, &programs)?;
    out.flush()
}

/// Starts this command again in the background and passes its progress on. A
/// request to stop in the meantime ends the background process too.
async fn detach(out: Out<'_>) -> Result<(), TestnetError> {
    let program =
        std::env::current_exe().map_err(TestnetError::file("cannot find", "masq-testnet"))?;
    let spawn_failed = |source| TestnetError::Spawn {
        program: program.clone(),
        source,
    };
    let mut stop = pin!(stop_asked());
    // Asked once before there is anything to stop, so that nothing is missed.
    if futures::poll!(stop.as_mut()).is_ready() {
        return Err(TestnetError::Interrupted);
    }
    let mut child = Process::new(&program)
        .args(std::env::args_os().skip(1))
        .arg("--supervised")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(spawn_failed)?;
    let mut line = ProgressLine::new();
    let stdout = child.stdout.take().expect("piped above");
    let mut lines = BufReader::new(stdout).lines();
    loop {
        let text = tokio::select! {
            text = lines.next_line() => text,
            () = &mut stop => {
                line.finish();
                end_child(&mut child).await;
                return Err(TestnetError::Interrupted);
            }
        };
        let Ok(Some(text)) = text else { break };
        match serde_json::from_str(&text) {
            Ok(Message::Progress(progress)) => line.show(progress),
            Ok(Message::Up { dir }) => {
                line.finish();
                let state = NetworkState::load(&dir)?;
                let _ = announce(out, &state, None);
                return Ok(());
            }
            Ok(Message::Failed { reason, code }) => {
                line.finish();
                return Err(TestnetError::Background { reason, code });
            }
            Err(_) => {}
        }
    }
    line.finish();
    let status = child.wait().await.map_err(spawn_failed)?;
    Err(TestnetError::Background {
        reason: format!("the background process ended ({status})"),
        code: 1,
    })
}

/// Ends the background process, which ends its nodes, and waits until it is
/// gone.
async fn end_child(child: &mut Child) {
    if let Some(Ok(process)) = child.id().map(ProcessId::of) {
        process.end(DOWN_GRACE).await;
    }
    let _ = child.wait().await;
}

async fn supervise(args: UpArgs, out: Out<'_>) -> Result<(), TestnetError> {
    // A terminal that closes must not take the mesh with it.
    let _ = rustix::process::setsid();
    let mut tell = |message: &Message| {
        // The one that started this may be gone; the mesh stays up all the same.
        if let Ok(text) = serde_json::to_string(message) {
            let _ = writeln!(out, "{text}");
            let _ = out.flush();
        }
    };
    let up = bring_up(args, &mut |p| tell(&Message::Progress(p))).await;
    let (mut net, registry) = match up {
        Ok(up) => up,
        Err(error) => {
            tell(&Message::Failed {
                reason: error.to_string(),
                code: error.exit_code(),
            });
            return Err(error);
        }
    };
    tell(&Message::Up {
        dir: net.dir().to_owned(),
    });
    let ended = tokio::select! {
        ended = net.any_ended() => Err(ended),
        () = stop_asked() => Ok(()),
    };
    take_down(net, &registry, &mut std::io::sink(), ended).await
}

fn find(dir: Option<PathBuf>) -> Result<NetworkState, TestnetError> {
    match dir {
        Some(dir) => NetworkState::load(&dir),
        None => Registry::of_user()?.current()?.ok_or(TestnetError::NotUp),
    }
}

/// One node in the answer of `status --json`.
#[derive(Debug, Serialize)]
struct NodeReport {
    name: String,
    role: crate::plan::Role,
    key: String,
    address: std::net::SocketAddr,
    process: crate::process::ProcessId,
    running: bool,
    memory: Option<Memory>,
    data_dir: PathBuf,
    log: PathBuf,
    status: Option<Status>,
}

/// `masq-testnet status`.
///
/// # Errors
/// When no mesh is up, or the one in the folder is down.
pub async fn status(args: StatusArgs, out: Out<'_>) -> Result<(), TestnetError> {
    let state = find(args.dir)?;
    if !state.is_alive() {
        return Err(TestnetError::Down { dir: state.dir });
    }
    let ask = state.nodes.iter().map(|node| async {
        let status = NodeClient::new(&node.name, &node.data_dir)
            .status()
            .await
            .ok();
        NodeReport {
            name: node.name.clone(),
            role: node.role,
            key: node.key.clone(),
            address: node.addr,
            process: node.process,
            running: node.process.is_alive(),
            memory: node
                .process
                .is_alive()
                .then(|| node.process.memory())
                .flatten(),
            data_dir: node.data_dir.clone(),
            log: node.log.clone(),
            status,
        }
    });
    let nodes = join_all(ask).await;
    let money = money::look(&state).await?;
    let written = if args.json {
        let report = serde_json::json!({
            "dir": state.dir,
            "supervisor": state.supervisor,
            "socks": state.socks,
            "http": state.http,
            "web_port": state.web_port,
            "web_v6": state.web_v6,
            "seed": state.seed,
            "nodes": nodes,
            "money": money,
        });
        writeln!(out, "{report:#}")
    } else {
        let rows: Vec<_> = nodes
            .iter()
            .map(|n| Row {
                name: &n.name,
                status: n.status.as_ref(),
                memory: n.memory,
            })
            .collect();
        node_table(out, &rows)
            .and_then(|()| writeln!(out))
            .and_then(|()| match &money {
                Some(money) => money.write(out),
                None => Ok(()),
            })
            .and_then(|()| try_lines(out, &state, &Programs::here()))
    };
    written.map_err(TestnetError::file("cannot write", "standard output"))
}

/// `masq-testnet down`.
///
/// # Errors
/// When no mesh is up, or the one in the folder is down already.
pub async fn down(args: DownArgs, out: Out<'_>) -> Result<(), TestnetError> {
    let state = find(args.dir)?;
    let registry = Registry::of_user()?;
    if !state.is_alive() {
        registry.forget(&state.dir);
        return Err(TestnetError::Down { dir: state.dir });
    }
    let by_itself = state.supervisor.end(DOWN_GRACE).await;
    // With the supervisor gone the nodes let go of their leashes. What still
    // runs after that is ended by number and start time.
    let left = state.nodes.iter().map(|n| async {
        let gone = n.process.gone_within(Duration::from_secs(1)).await;
        (!gone).then_some((&n.name, n.process))
    });
    let left: Vec<_> = join_all(left).await.into_iter().flatten().collect();
    join_all(left.iter().map(|(_, process)| process.end(DOWN_GRACE / 2))).await;
    registry.forget(&state.dir);
    if state.temporary && by_itself {
        let _ = std::fs::remove_dir_all(&state.dir);
    }
    for (name, _) in &left {
        let _ = writeln!(out, "{name} had to be ended by itself");
    }
    let _ = writeln!(out, "{} nodes are down.", state.nodes.len());
    Ok(())
}

/// `masq-testnet fund`.
///
/// # Errors
/// When no mesh is up, it has no money, or its chain does not do it.
pub async fn fund(args: FundArgs, out: Out<'_>) -> Result<(), TestnetError> {
    let state = find(args.dir)?;
    let Some(money) = &state.money else {
        return Err(TestnetError::Options(
            "this mesh has no money; bring one up with --chain dev".to_owned(),
        ));
    };
    money.fund(args.wallet.into()).await?;
    writeln!(
        out,
        "It has tokens and coin now, as the nodes of the mesh in {} had at first.",
        state.dir.display()
    )
    .map_err(TestnetError::file("cannot write", "standard output"))
}

/// `masq-testnet demo`.
///
/// # Errors
/// The first thing that was not right.
pub async fn demo(args: DemoArgs, out: Out<'_>) -> Result<(), TestnetError> {
    // Plain lines: a moving one would run into the story that follows.
    let mut line = ProgressLine::plain();
    let mut options = options(&args.mesh)?;
    options.chain = args.money.into();
    let result = unless_stopped(demo::run(options, out, &mut line)).await;
    line.finish();
    result
}

/// `masq-testnet bench`.
///
/// # Errors
/// When the mesh does not come up or brings wrong bytes.
pub async fn bench(args: BenchArgs, out: Out<'_>) -> Result<(), TestnetError> {
    if let Some(BenchWhat::Money(args)) = args.what {
        return bench_money(args, out).await;
    }
    let mut line = ProgressLine::new();
    let mut options = options(&args.mesh)?;
    options.log_level = if args.mesh.log == "info" {
        "warn".to_owned()
    } else {
        args.mesh.log
    };
    let mut net = unless_stopped(Testnet::start(options)).await?;
    let formed = unless_stopped(net.form(&mut |p| line.show(p))).await;
    line.finish();
    let wanted = BenchOptions {
        small: args.small,
        large: args.large_mb * 1_000_000,
        flows: args.flows,
        server: args.small_url.zip(args.large_url),
    };
    let result = match formed {
        Ok(()) => unless_stopped(bench::run(&net, &wanted, &mut std::io::stderr())).await,
        Err(error) => Err(error),
    };
    if result.is_err() {
        net.keep_dir();
    }
    net.down().await;
    let report = result?;
    let written = if args.json {
        serde_json::to_string_pretty(&report)
            .map_err(std::io::Error::from)
            .and_then(|text| writeln!(out, "{text}"))
    } else {
        report.write(out)
    };
    written.map_err(TestnetError::file("cannot write", "standard output"))
}

/// `masq-testnet bench money`.
async fn bench_money(args: BenchMoneyArgs, out: Out<'_>) -> Result<(), TestnetError> {
    let mut free = measured(args.nodes, args.masqd, None, args.log)?;
    free.hops = Some(bench::money::HOPS.to_string());
    let mut billed = free.clone();
    billed.chain = Chain::Dev;
    // What is measured is the accounting, and not payments every few seconds.
    billed.pay_as_usual = true;
    let wanted = MoneyBenchOptions {
        pairs: args.pairs.into(),
        bytes: args.mb * 1_000_000,
    };
    let report = with_mesh(billed, async |on, err| {
        let mut off = Testnet::up(free).await?;
        let report = bench::money::run(on, &off, &wanted, err).await;
        if report.is_err() {
            off.keep_dir();
        }
        off.down().await;
        report
    })
    .await?;
    let written = if args.json {
        write_json(out, &report)
    } else {
        report.write(out)
    };
    written.map_err(TestnetError::file("cannot write", "standard output"))?;
    if args.check { report.check() } else { Ok(()) }
}

/// Options of a mesh with so many nodes whose client has a route before anything begins.
fn measured(
    nodes: usize,
    masqd: Option<PathBuf>,
    dir: Option<PathBuf>,
    log: String,
) -> Result<Options, TestnetError> {
    options(&MeshArgs {
        nodes,
        exits: None,
        consumers: None,
        hops: None,
        dir,
        log,
        masqd,
        // A minute, and two seconds more for each node: all start on this machine.
        ready_within: 60 + 2 * nodes as u64,
        ready: Ready::Routes,
    })
}

/// Brings a mesh up, measures something with it, and takes it down; the logs stay when it
/// did not work.
async fn with_mesh<T>(
    options: Options,
    work: impl AsyncFnOnce(&mut Testnet, Out<'_>) -> Result<T, TestnetError>,
) -> Result<T, TestnetError> {
    let mut line = ProgressLine::new();
    let mut net = unless_stopped(Testnet::start(options)).await?;
    let formed = unless_stopped(net.form(&mut |p| line.show(p))).await;
    line.finish();
    let result = match formed {
        Ok(()) => unless_stopped(work(&mut net, &mut std::io::stderr())).await,
        Err(error) => Err(error),
    };
    if result.is_err() {
        net.keep_dir();
    }
    net.down().await;
    result
}

fn write_json(out: Out<'_>, report: &impl Serialize) -> std::io::Result<()> {
    let text = serde_json::to_string_pretty(report)?;
    writeln!(out, "{text}")
}

/// `masq-testnet stress`.
///
/// # Errors
/// When the mesh does not come up, or, with `--check`, does not heal in time.
pub async fn stress(args: StressArgs, out: Out<'_>) -> Result<(), TestnetError> {
    let wanted = StressOptions::from(&args);
    let options = measured(args.nodes, args.masqd, args.dir, args.log)?;
    let report = with_mesh(options, async |net, err| {
        stress::run(net, &wanted, err).await
    })
    .await?;
    let written = if args.json {
        write_json(out, &report)
    } else {
        report.write(out)
    };
    written.map_err(TestnetError::file("cannot write", "standard output"))?;
    if args.check { report.check() } else { Ok(()) }
}

/// `masq-testnet attack`.
///
/// # Errors
/// When the mesh does not come up, or, with `--check`, something exceeds its bound.
pub async fn attack(args: AttackArgs, out: Out<'_>) -> Result<(), TestnetError> {
    let wanted = AttackOptions::from(&args);
    let options = measured(args.nodes, args.masqd, args.dir, args.log)?;
    let report = with_mesh(options, async |net, err| {
        attack::run(net, &wanted, err).await
    })
    .await?;
    let written = if args.json {
        write_json(out, &report)
    } else {
        report.write(out)
    };
    written.map_err(TestnetError::file("cannot write", "standard output"))?;
    if args.check { report.check() } else { Ok(()) }
}

/// `masq-testnet soak`.
///
/// # Errors
/// When the mesh does not come up, or the books are not right.
pub async fn soak(args: SoakArgs, out: Out<'_>) -> Result<(), TestnetError> {
    let wanted = SoakOptions::from(&args);
    let mut options = measured(args.nodes, args.masqd, args.dir, args.log)?;
    options.chain = args.money.into();
    options.all_socks = true;
    let report = with_mesh(options, async |net, err| {
        let report = soak::run(net, &wanted, err).await?;
        if report.check().is_err() {
            net.keep_dir();
            let _ = writeln!(err, "logs and books are in {}", net.dir().display());
        }
        Ok(report)
    })
    .await?;
    let written = if args.json {
        write_json(out, &report)
    } else {
        report.write(out)
    };
    written.map_err(TestnetError::file("cannot write", "standard output"))?;
    report.check()
}

/// `masq-testnet serve-web`.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve_web(args: ServeWebArgs, out: Out<'_>) -> Result<(), TestnetError> {
    let web = WebServer::on(args.listen)
        .await
        .map_err(|source| TestnetError::Listen {
            what: "the web server",
            addr: args.listen,
            option: "--listen",
            source,
        })?;
    let _ = writeln!(out, "serving http://{}/", web.addrs()[0]);
    let _ = out.flush();
    stop_asked().await;
    Ok(())
}
