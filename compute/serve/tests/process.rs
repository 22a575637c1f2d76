//! The engine in a process of its own, with a real child: this very program, started with `engine`.

#![allow(clippy::print_stdout, reason = "it is its own harness")]

mod toy;

use std::{
    io::Write,
    os::unix::net::UnixStream,
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use compute::model::Store;
use serve::{
    engine::{Event, Prompt, Request, SubmitError},
    process::{
        Admin, AdminError, Command, Enforcement, EngineSetup, EventStream, FrameError, FromEngine, Ready, Reply, State,
        Supervisor, ToEngine, child_main, inherited_socket, read_frame, write_frame,
    },
    schedule::{Finish, Limits},
    tier::{Budget, Tier},
};
use toy::*;

/// A request that begins with this token ends the child.
const POISON: u32 = 1;

fn child() -> ExitCode {
    let socket = inherited_socket().expect("the parent gave a socket");
    child_main(socket, |wanted, tiers| {
        if Path::new(&wanted.model).is_absolute() {
            return serve::loader::parts(wanted, tiers);
        }
        if wanted.model != "toy" {
            return Err(format!("there is no model {}", wanted.model));
        }
        let cost = Cost {
            step: Duration::from_millis(1),
            ..Cost::default()
        };
        let controls = Controls {
            poison: Some(POISON),
            ..Controls::default()
        };
        Ok(setup(tiers, wanted.limits, SHAPE, cost, Arc::new(controls)))
    })
}

fn wanted(adapters: Option<&Path>) -> EngineSetup {
    EngineSetup {
        model: "toy".to_owned(),
        adapters: adapters.map(|root| root.to_str().expect("a path of the test").to_owned()),
        device: "cpu".to_owned(),
        threads: 1,
        quantise: "none".to_owned(),
        memory_bytes_max: Some(4 << 30),
        limits: Limits::default(),
        tiers: Budget::default(),
        pages: None,
    }
}

fn start(setup: EngineSetup) -> Supervisor {
    let command = Command {
        program: std::env::current_exe().expect("this program has a path"),
        args: vec!["engine".into()],
    };
    Supervisor::start(command, setup)
}

async fn ready(supervisor: &Supervisor) -> Arc<Ready> {
    let mut state = supervisor.state();
    let found = state
        .wait_for(|state| matches!(state, State::Ready(_)))
        .await
        .expect("the supervisor runs");
    match &*found {
        State::Ready(ready) => Arc::clone(ready),
        other => panic!("{other:?}"),
    }
}

async fn all(mut answer: EventStream) -> Result<Whole, SubmitError> {
    let mut events = Vec::new();
    while let Some(event) = answer.next().await {
        events.push(event);
    }
    whole(events)
}

fn poison() -> Request {
    request("\u{1}", 5)
}

async fn a_child_answers_like_an_engine_and_tells_what_it_has() {
    let root = tempfile::tempdir().expect("tempdir");
    write(root.path(), "one", &adapter(1, 256));
    let two = write(root.path(), "two", &adapter(2, 256));
    let supervisor = start(wanted(Some(root.path())));
    let ready = ready(&supervisor).await;
    assert_eq!((ready.adapters, ready.vocabulary), (2, VOCABULARY));
    let plain = all(supervisor.submit(request("hello", 9)).expect("asked"))
        .await
        .expect("served");
    assert_eq!(plain.tokens, alone(&[], &tokens("hello"), 9));
    let one = all(supervisor.submit(with("one", "hello", 9)).expect("asked"))
        .await
        .expect("served");
    assert_eq!(one.tokens, alone(&[(adapter(1, 256).hash(), 1.0)], &tokens("hello"), 9));
    let unknown = all(supervisor.submit(with("three", "hello", 9)).expect("asked")).await;
    assert!(matches!(unknown, Err(SubmitError::Unknown { name, .. }) if name == "three"));

    let dir = two.to_str().expect("a path of the test").to_owned();
    let register = |expected| Admin::Register {
        name: "one".to_owned(),
        dir: dir.clone(),
        expected,
    };
    let Ok(Reply::Registered(generation)) = supervisor.admin(register(None)).await else {
        panic!("a name is given anew");
    };
    let late = supervisor.admin(register(Some(generation + 7))).await;
    assert!(matches!(late, Err(AdminError::Generation { found, .. }) if found == generation));
    let outside = Admin::Register {
        name: "x".to_owned(),
        dir: "/etc".to_owned(),
        expected: None,
    };
    assert!(matches!(supervisor.admin(outside).await, Err(AdminError::Refused(why)) if why.contains("/etc")));
    let swapped = all(supervisor.submit(with("one", "hello", 9)).expect("asked"))
        .await
        .expect("served");
    assert_eq!(
        swapped.tokens,
        alone(&[(adapter(2, 256).hash(), 1.0)], &tokens("hello"), 9)
    );
    let Ok(Reply::List(list)) = supervisor.admin(Admin::List { after: None, limit: 10 }).await else {
        panic!("a list");
    };
    assert_eq!((list[0].generation, list[0].tier), (generation, Tier::Device));
    let Ok(Reply::Metrics(metrics)) = supervisor.admin(Admin::Metrics).await else {
        panic!("counts");
    };
    assert_eq!((metrics.finished, metrics.slot_loads), (3, 2));
    supervisor.stop(Duration::from_secs(10)).await;
}

/// How many crashes; every one of them starts a process.
fn crashes() -> u32 {
    std::env::var("OPENLEDGER_CRASHES").map_or(100, |count| count.parse().expect("OPENLEDGER_CRASHES is a number"))
}

async fn a_crash_fails_what_was_in_flight_and_the_engine_is_back_within_two_seconds() {
    let (crashing, other) = (start(wanted(None)), start(wanted(None)));
    ready(&other).await;
    let mut longest = Duration::ZERO;
    for crash in 0..crashes() {
        ready(&crashing).await;
        let unharmed = other.submit(request(&format!("other {crash}"), 20)).expect("asked");
        let mut streaming = crashing.submit(request("a long answer", 400)).expect("asked");
        assert!(matches!(streaming.next().await, Some(Event::Token { .. })));
        let killer = crashing.submit(poison()).expect("asked");
        let failed = all(streaming).await.expect("served in part");
        let gone = Instant::now();
        assert!(matches!(failed.finish, Finish::Failed(why) if why.contains("signal 6")));
        assert!(matches!(all(killer).await.expect("told").finish, Finish::Failed(_)));
        ready(&crashing).await;
        let back = all(crashing.submit(request("again", 5)).expect("asked"))
            .await
            .expect("served");
        longest = longest.max(gone.elapsed());
        assert_eq!(back.tokens, alone(&[], &tokens("again"), 5));
        let unharmed = all(unharmed).await.expect("served");
        assert_eq!(unharmed.tokens, alone(&[], &tokens(&format!("other {crash}")), 20));
    }
    assert!(longest <= Duration::from_secs(2), "back after {longest:?}");
    println!("    {} crashes, back after {longest:?} at most", crashes());
}

/// A stored copy of a fixture, and an engine of it.
fn stored(home: &Path) -> (std::path::PathBuf, Supervisor) {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/llama-1");
    let store = Store::open(&home.join("models")).expect("a directory of the test");
    let dir = store.dir(store.add(&fixture).expect("it is a model").hash);
    let supervisor = start(EngineSetup {
        model: dir.to_str().expect("a path of the test").to_owned(),
        ..wanted(None)
    });
    (dir.join("model.safetensors"), supervisor)
}

fn numbers(from: u32, tokens: u32) -> Request {
    Request {
        tokens_max: Some(tokens),
        ignore_eos: true,
        ..Request::new(Prompt::Tokens((from..from + 8).collect()))
    }
}

async fn a_model_that_is_cut_or_overwritten_fails_requests_by_name_and_serves_again_once_it_is_whole() {
    for way in ["cut", "overwritten", "touched"] {
        let home = tempfile::tempdir().expect("tempdir");
        let (file, supervisor) = stored(home.path());
        ready(&supervisor).await;
        let (child, whole) = (supervisor.process_id(), std::fs::read(&file).expect("it is there"));
        let before = all(supervisor.submit(numbers(5, 20)).expect("asked"))
            .await
            .expect("served")
            .tokens;
        match way {
            "cut" => std::fs::File::options()
                .write(true)
                .open(&file)
                .and_then(|file| file.set_len(100)),
            "overwritten" => std::fs::write(&file, vec![0xff; whole.len()]),
            _ => std::fs::write(&file, &whole),
        }
        .expect("a file of the test");
        let ended = all(supervisor.submit(numbers(9, 100)).expect("asked"))
            .await
            .expect("served in part");
        assert!(
            matches!(&ended.finish, Finish::Failed(why) if why.contains("model.safetensors was changed")),
            "{way}: {ended:?}"
        );
        assert!(
            ended.tokens.is_empty(),
            "{way}: nothing is told that was computed with something else"
        );
        if way == "touched" {
            assert_eq!(supervisor.process_id(), child, "it is the same model still");
        } else {
            let why = loop {
                match supervisor.submit(numbers(5, 1)).map(drop) {
                    Err(SubmitError::CannotStart { why, .. }) => break why,
                    // It finds out, ends, and is started again.
                    Ok(()) | Err(_) => tokio::task::yield_now().await,
                }
            };
            assert!(why.contains("model.safetensors"), "{way}: {why}");
            std::fs::write(&file, &whole).expect("a file of the test");
            ready(&supervisor).await;
        }
        let again = all(supervisor.submit(numbers(5, 20)).expect("asked"))
            .await
            .expect("served");
        assert_eq!(again.tokens, before, "{way}");
    }
}

async fn a_child_without_a_parent_ends_and_a_parent_without_a_child_says_so() {
    let supervisor = start(wanted(None));
    ready(&supervisor).await;
    let id = supervisor.process_id().expect("it runs");
    let alive = || Path::new(&format!("/proc/{id}")).exists();
    assert!(alive());
    drop(supervisor);
    assert!(!alive(), "dropping the supervisor waits for the child");

    let supervisor = start(EngineSetup {
        model: "none".to_owned(),
        ..wanted(None)
    });
    assert_eq!(supervisor.ready().await, Err("there is no model none".to_owned()));
    assert!(
        matches!(supervisor.submit(request("x", 1)), Err(SubmitError::CannotStart { why, .. }) if why.contains("none"))
    );
}

async fn a_request_that_is_dropped_ends_in_the_child() {
    let supervisor = start(wanted(None));
    ready(&supervisor).await;
    let mut answer = supervisor.submit(request("long", 400)).expect("asked");
    answer.next().await.expect("a first token");
    drop(answer);
    loop {
        let Ok(Reply::Metrics(metrics)) = supervisor.admin(Admin::Metrics).await else {
            panic!("counts");
        };
        if metrics.cancelled == 1 {
            break assert!(metrics.completion_tokens < 400);
        }
        assert_eq!(metrics.finished, 0, "it was cancelled before it was done");
    }
}

async fn the_child_is_kept_apart_or_says_what_does_not_hold() {
    let supervisor = start(wanted(None));
    let isolation = ready(&supervisor).await.isolation.clone();
    let id = supervisor.process_id().expect("it runs");
    assert_eq!(
        (isolation.ends_with_parent, isolation.memory_limit),
        (Enforcement::Yes, Enforcement::Yes)
    );
    let space = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/net")).expect("Linux tells");
    match isolation.no_network {
        Enforcement::Yes => assert_ne!(space("self"), space(&id.to_string())),
        Enforcement::No(why) => assert!(!why.is_empty()),
        Enforcement::NotRequested => panic!("it is always asked for"),
    }
}

/// Bytes that are nearly frames: every decoder of them says no, and none panics or takes memory for a length alone.
async fn nearly_frames_are_refused() {
    let mut frames = Vec::new();
    let mut add = |call: &ToEngine| write_frame(&mut frames, call).expect("it is short");
    add(&ToEngine::Hello {
        version: 1,
        setup: Box::new(wanted(None)),
    });
    add(&ToEngine::Submit(7, Box::new(with("name", "some prompt", 3))));
    add(&ToEngine::Admin(
        8,
        Admin::List {
            after: Some("x".to_owned()),
            limit: 3,
        },
    ));
    let mut random = Random(11);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let mut bytes = frames.clone();
        for _ in 0..=random.below(3) {
            let at = usize::try_from(random.below(bytes.len() as u64)).expect("small");
            match random.below(3) {
                0 => bytes[at] = u8::try_from(random.below(256)).expect("small"),
                1 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, 0xff),
            }
        }
        let mut rest = &bytes[..];
        loop {
            match read_frame::<ToEngine>(&mut rest) {
                Ok(_) => read += 1,
                Err(FrameError::Gone) => break,
                Err(FrameError::TooLong(_) | FrameError::Malformed(_)) => break refused += 1,
                Err(FrameError::Read(error)) => panic!("memory does not fail: {error}"),
            }
        }
        assert!(!matches!(
            read_frame::<FromEngine>(&mut &bytes[..]),
            Err(FrameError::Read(_))
        ));
    }
    assert!(read > 10_000 && refused > 5_000, "{read} read, {refused} refused");
}

async fn a_child_that_is_told_nonsense_ends() {
    for nonsense in [&b"\0\0\0\x04abcd"[..], &[0xff; 64], &[]] {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let mut child = std::process::Command::new(std::env::current_exe().expect("this program has a path"))
            .arg("engine")
            .stdin(std::process::Stdio::from(std::os::fd::OwnedFd::from(theirs)))
            .spawn()
            .expect("started");
        (&ours).write_all(nonsense).expect("written");
        ours.shutdown(std::net::Shutdown::Write).expect("said all");
        assert!(!child.wait().expect("it ends").success());
    }
}

/// Runs a test and says so, if its name holds what the command line asks for.
macro_rules! run {
    ($($test:ident),* $(,)?) => {{
        let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        $(
            let name = stringify!($test);
            if wanted.iter().all(|part| name.contains(part.as_str())) {
                println!("test {name} ...");
                runtime.block_on($test());
                println!("test {name} ... ok");
            }
        )*
    }};
}

/// Not the usual harness: the child must begin with a single thread.
fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|arg| arg == "engine") {
        return child();
    }
    run!(
        a_child_answers_like_an_engine_and_tells_what_it_has,
        a_crash_fails_what_was_in_flight_and_the_engine_is_back_within_two_seconds,
        a_model_that_is_cut_or_overwritten_fails_requests_by_name_and_serves_again_once_it_is_whole,
        a_child_without_a_parent_ends_and_a_parent_without_a_child_says_so,
        a_request_that_is_dropped_ends_in_the_child,
        the_child_is_kept_apart_or_says_what_does_not_hold,
        nearly_frames_are_refused,
        a_child_that_is_told_nonsense_ends,
    );
    ExitCode::SUCCESS
}
