//! Levers against a real pgbouncer, and commands of one's own.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, Instant};

use executors::levers::pgbouncer::{PgbouncerLever, Settings};
use executors::levers::{Served, lever};
use executors::{Acted, Lever, Probe, Receiver, TrafficState};
use journal::{Effect, EffectSpec, LeverSettings, PlanHash, Position, Side, Step};
use product::cluster::{Cluster, DATABASE, Role, open};
use product::pgbouncer::{Pgbouncer, connect_string};
use runtime::{Scrubber, Secret, SystemClock};

use crate::fixture::{finish, migration, phase, spec, under, wait};

struct Bounced {
    source: Cluster,
    target: Cluster,
    bouncer: Pgbouncer,
}

impl Bounced {
    async fn new() -> Self {
        let (source, target) =
            futures::future::join(Cluster::start("source"), Cluster::start("target")).await;
        let (source, target) = (source.unwrap(), target.unwrap());
        let bouncer = Pgbouncer::start(&source).await.unwrap();
        Self { source, target, bouncer }
    }

    fn lever(&self, pause_limit: Duration) -> PgbouncerLever {
        self.lever_on(&self.bouncer.ini(), pause_limit)
    }

    fn lever_on(&self, ini: &Path, pause_limit: Duration) -> PgbouncerLever {
        PgbouncerLever::new(Settings {
            admin: Secret::new(self.bouncer.admin_url()),
            ini: ini.to_owned(),
            database: DATABASE.to_owned(),
            source: connect_string(&self.source),
            target: connect_string(&self.target),
            pause_limit,
            served: served(&Scrubber::default()),
        })
        .unwrap()
    }
}

fn served(scrubber: &Scrubber) -> Served {
    Served {
        migration: migration(),
        phase: phase(),
        folder: PathBuf::new(),
        source: None,
        target: None,
        scrubber: scrubber.clone(),
        clock: Arc::new(SystemClock),
    }
}

async fn done(lever: &dyn Receiver, effect: Effect) {
    finish(lever, &spec(1, effect), under(1, 1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn live_clients_go_to_the_other_side_and_back_without_an_error() {
    let rig = Bounced::new().await;
    let lever = rig.lever(Duration::from_secs(5));
    let before = std::fs::read(rig.bouncer.ini()).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = Vec::new();
    let reached: Arc<Vec<AtomicU16>> = Arc::new((0..8).map(|_| AtomicU16::new(0)).collect());
    for n in 0..8 {
        let (client, stop) = (open(&rig.bouncer.app_url()).await.unwrap(), Arc::clone(&stop));
        let reached = Arc::clone(&reached);
        clients.push(tokio::spawn(async move {
            let (mut ports, mut requests) = (Vec::new(), 0_u32);
            while !stop.load(Ordering::SeqCst) {
                let answer = client.simple_query("begin; select inet_server_port(); commit").await.unwrap();
                for message in answer {
                    if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
                        let port: u16 = row.get(0).unwrap().parse().unwrap();
                        reached[n].store(port, Ordering::SeqCst);
                        if ports.last() != Some(&port) {
                            ports.push(port);
                        }
                    }
                }
                requests += 1;
            }
            (ports, requests)
        }));
    }
    let all_reach = async |port: u16| {
        wait("every client reaches the side", || {
            let all = reached.iter().all(|at| at.load(Ordering::SeqCst) == port);
            async move { all }
        })
        .await;
    };
    let (source, target) = (rig.source.port(), rig.target.port());
    all_reach(source).await;
    let at = |side| Effect::ObserveTraffic { at: side };
    done(&lever, at(Side::Source)).await;
    for (from, to) in [(Side::Source, Side::Target), (Side::Target, Side::Source)] {
        done(&lever, Effect::HoldTraffic { at: from }).await;
        assert_eq!(lever.observe().await.unwrap(), TrafficState::Held(from));
        done(&lever, Effect::RouteTraffic { to }).await;
        assert_eq!(lever.observe().await.unwrap(), TrafficState::Held(to));
        done(&lever, Effect::ResumeTraffic { to }).await;
        done(&lever, at(to)).await;
        all_reach(if to == Side::Source { source } else { target }).await;
    }
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        let (ports, requests) = client.await.unwrap();
        assert_eq!(ports, [source, target, source], "after {requests} requests");
    }
    assert_eq!(std::fs::read(rig.bouncer.ini()).unwrap(), before, "there and back, every byte is as it was");
    // Held or elsewhere is said, with what to do.
    done(&lever, Effect::HoldTraffic { at: Side::Source }).await;
    let Probe::Differs(finding) = lever.probe(&spec(1, at(Side::Source)), under(1, 1)).await else {
        panic!("it is held")
    };
    assert!(finding.code == "SW-0511" && finding.remedy.contains("RESUME"), "{finding}");
}

#[tokio::test]
async fn a_client_idle_in_a_transaction_is_named_and_the_others_go_on() {
    let rig = Bounced::new().await;
    let lever = rig.lever(Duration::from_millis(400));
    let idle = open(&rig.bouncer.app_url()).await.unwrap();
    idle.batch_execute("set application_name = 'forgotten'; begin; select 1").await.unwrap();
    let hold = spec(1, Effect::HoldTraffic { at: Side::Source });
    let Acted::Definite(error) = lever.act(&hold, under(1, 1)).await else { panic!("it should give up") };
    assert!(error.to_string().contains("user app"), "{error}");
    assert!(!error.to_string().contains("LEAK"), "{error}");
    assert_eq!(rig.bouncer.entry().await.unwrap(), (rig.source.port(), false));
    let other = open(&rig.bouncer.app_url()).await.unwrap();
    other.batch_execute("select 1").await.unwrap();
    idle.batch_execute("commit").await.unwrap();
    done(&lever, Effect::HoldTraffic { at: Side::Source }).await;
}

#[tokio::test]
async fn a_raised_flag_with_open_transactions_is_not_held_and_a_restart_forgets_it() {
    let mut rig = Bounced::new().await;
    let lever = rig.lever(Duration::from_secs(5));
    let busy = open(&rig.bouncer.app_url()).await.unwrap();
    busy.batch_execute("begin; select 1").await.unwrap();
    // An executor dies in the middle of its PAUSE.
    let hold = spec(1, Effect::HoldTraffic { at: Side::Source });
    assert!(tokio::time::timeout(Duration::from_millis(200), lever.act(&hold, under(1, 1))).await.is_err());
    wait("the flag is up", || async { rig.bouncer.entry().await.unwrap().1 }).await;
    assert_eq!(lever.probe(&hold, under(1, 1)).await, Probe::Absent);
    assert_eq!(lever.observe().await.unwrap(), TrafficState::Source);
    let resume = spec(1, Effect::ResumeTraffic { to: Side::Source });
    assert_eq!(lever.probe(&resume, under(1, 1)).await, Probe::Absent, "the undo has something to do");
    busy.batch_execute("commit").await.unwrap();
    done(&lever, Effect::HoldTraffic { at: Side::Source }).await;
    rig.bouncer.restart().await.unwrap();
    assert_eq!(lever.observe().await.unwrap(), TrafficState::Source);
    assert_eq!(lever.probe(&hold, under(1, 1)).await, Probe::Absent);
    // Routing holds it again by itself.
    done(&lever, Effect::RouteTraffic { to: Side::Target }).await;
    assert_eq!(lever.observe().await.unwrap(), TrafficState::Held(Side::Target));
    rig.bouncer.restart().await.unwrap();
    assert_eq!(lever.observe().await.unwrap(), TrafficState::Target, "the file holds the route");
    // The wrong way is not resumed.
    let Acted::Definite(error) = lever.act(&resume, under(1, 1)).await else { panic!("it points elsewhere") };
    assert!(error.to_string().contains("route it first"), "{error}");
}

#[tokio::test]
async fn an_entry_that_points_at_neither_side_is_said_and_so_is_session_pooling() {
    let rig = Bounced::new().await;
    let lever = rig.lever(Duration::from_secs(5));
    let text = std::fs::read_to_string(rig.bouncer.ini()).unwrap();
    let reload = async |text: &str| {
        std::fs::write(rig.bouncer.ini(), text).unwrap();
        open(&rig.bouncer.admin_url()).await.unwrap().simple_query("reload").await.unwrap();
    };
    reload(&text.replace("pool_mode = transaction", "pool_mode = session")).await;
    let observe = spec(1, Effect::ObserveTraffic { at: Side::Source });
    let Probe::Differs(finding) = lever.probe(&observe, under(1, 1)).await else {
        panic!("it pools sessions")
    };
    assert_eq!(finding.code, "SW-0512");
    reload(&text.replace(&format!("port={}", rig.source.port()), "port=1")).await;
    let Probe::Differs(finding) = lever.probe(&observe, under(1, 1)).await else { panic!("it is elsewhere") };
    assert!(finding.code == "SW-0511" && finding.what.contains("neither side"), "{finding}");
    assert_eq!(Role::App.name(), "app");
}

fn at_step(step: Step, effect: Effect) -> EffectSpec {
    EffectSpec::new(PlanHash::of(b"plan"), &phase(), Position::new(1), step, effect)
}

#[tokio::test]
async fn a_rehearsal_finds_a_file_that_pgbouncer_does_not_read_and_leaves_every_byte() {
    let rig = Bounced::new().await;
    let observe = at_step(Step::PrepareSwitch, Effect::ObserveTraffic { at: Side::Source });
    let lever = rig.lever(Duration::from_secs(5));
    // What an executor that died has left is taken away.
    let before = std::fs::read_to_string(rig.bouncer.ini()).unwrap();
    let line =
        "\n_switchyard_rehearsal_region-a = host=127.0.0.1 port=1 dbname=_switchyard_rehearsal_region-a";
    let entry = before.lines().find(|line| line.starts_with("shop =")).unwrap().to_owned();
    std::fs::write(rig.bouncer.ini(), before.replace(&entry, &format!("{entry}{line}"))).unwrap();
    let evidence = finish(&lever, &observe, under(1, 1)).await.unwrap();
    assert!(evidence.contains_key("rehearsed_ms"), "{evidence:?}");
    assert_eq!(std::fs::read_to_string(rig.bouncer.ini()).unwrap(), before);

    // Where the file that pgbouncer names may include the plan's, only trying can tell.
    let folder = tempfile::tempdir().unwrap();
    let (copy, more) = (folder.path().join("copy.ini"), folder.path().join("more.ini"));
    std::fs::write(&more, "; nothing\n").unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(rig.bouncer.ini(), format!("{before}%include {}\n", more.display())).unwrap();
    std::fs::write(&copy, &before).unwrap();
    let elsewhere = rig.lever_on(&copy, Duration::from_secs(5));
    let finding = finish(&elsewhere, &observe, under(1, 1)).await.unwrap_err();
    assert!(finding.code == "SW-0514" && finding.what.contains("does not follow"), "{finding}");
    assert_eq!(std::fs::read_to_string(&copy).unwrap(), before);
}

#[tokio::test]
async fn an_undo_needs_no_file_while_the_console_says_that_nothing_was_routed() {
    let rig = Bounced::new().await;
    let lever = rig.lever(Duration::from_secs(5));
    let undo = |effect| at_step(Step::Undo, effect);
    let back = undo(Effect::RouteTraffic { to: Side::Source });
    done(&lever, Effect::HoldTraffic { at: Side::Source }).await;
    let (ini, away) = (rig.bouncer.ini(), rig.bouncer.ini().with_extension("away"));
    std::fs::rename(&ini, &away).unwrap();
    let evidence = finish(&lever, &back, under(1, 1)).await.unwrap();
    assert!(evidence["file"].contains("cannot be found"), "{evidence:?}");
    finish(&lever, &undo(Effect::ResumeTraffic { to: Side::Source }), under(1, 1)).await.unwrap();
    finish(&lever, &undo(Effect::ObserveTraffic { at: Side::Source }), under(1, 1)).await.unwrap();
    // Routed already, it cannot go back without it; what a person can do by hand is told.
    std::fs::rename(&away, &ini).unwrap();
    done(&lever, Effect::HoldTraffic { at: Side::Source }).await;
    done(&lever, Effect::RouteTraffic { to: Side::Target }).await;
    std::fs::rename(&ini, &away).unwrap();
    assert!(matches!(lever.act(&back, under(1, 1)).await, Acted::Definite(_)));
    let told = lever.by_hand(&back).unwrap();
    assert!(told.contains(&format!("port={}", rig.source.port())) && told.contains("RESUME"), "{told}");
}

fn script(folder: &std::path::Path, body: &str) -> Vec<String> {
    let state = folder.join("state").display().to_string();
    let body = body.replace("STATE", &state);
    ["sh", "-c", &body, "lever"].map(str::to_owned).to_vec()
}

#[tokio::test]
async fn commands_hold_route_and_resume_and_their_refusals_are_scrubbed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("state"), "source").unwrap();
    let scrubber = Scrubber::default();
    scrubber.learn(&Secret::new("postgres://mover:hunter22@db/shop"));
    let settings = |stop: &str, timeout| LeverSettings::Command {
        stop: script(folder.path(), stop),
        observe: script(folder.path(), "cat STATE"),
        route: script(folder.path(), "echo held $1 > STATE"),
        resume: script(folder.path(), "sed -i 's/held //' STATE; echo $SWITCHYARD_PHASE $SWITCHYARD_EPOCH"),
        timeout,
    };
    let make = |stop: &str, timeout| lever(&settings(stop, timeout), served(&scrubber)).unwrap();
    let second = Duration::from_secs(5);
    let good = make("echo held source > STATE", second);
    done(&*good, Effect::ObserveTraffic { at: Side::Source }).await;
    done(&*good, Effect::HoldTraffic { at: Side::Source }).await;
    assert_eq!(good.observe().await.unwrap(), TrafficState::Held(Side::Source));
    let early = spec(1, Effect::ResumeTraffic { to: Side::Target });
    assert!(matches!(good.act(&early, under(7, 9)).await, Acted::Definite(_)), "it is not routed yet");
    done(&*good, Effect::RouteTraffic { to: Side::Target }).await;
    let Acted::Done(said) = good.act(&early, under(7, 9)).await else { panic!("it should resume") };
    assert_eq!(said["said"], "region-a 7");
    assert_eq!(good.observe().await.unwrap(), TrafficState::Target);

    let hold = spec(2, Effect::HoldTraffic { at: Side::Target });
    let refusing = make("echo cannot reach with hunter22 >&2; exit 3", second);
    let Acted::Definite(error) = refusing.act(&hold, under(1, 1)).await else {
        panic!("nothing has changed")
    };
    assert!(error.to_string().contains("cannot reach with ***"), "{error}");
    let half = make("echo held target > STATE; exit 3", second);
    assert!(matches!(half.act(&hold, under(1, 1)).await, Acted::Unknown(_)), "something has changed");
    std::fs::write(folder.path().join("state"), "target").unwrap();
    let slow = make("sleep 60 & echo $! > STATE.pid; wait", Duration::from_millis(300));
    let began = Instant::now();
    assert!(matches!(slow.act(&hold, under(1, 1)).await, Acted::Unknown(_)));
    assert!(began.elapsed() < second);
    let pid = std::fs::read_to_string(folder.path().join("state.pid")).unwrap();
    let status = format!("/proc/{}/status", pid.trim());
    wait("its children are killed too", || async {
        std::fs::read_to_string(&status).map_or(true, |text| text.contains("State:\tZ"))
    })
    .await;
    std::fs::write(folder.path().join("state"), "sideways").unwrap();
    assert!(good.observe().await.unwrap_err().to_string().contains("sideways"));
}
