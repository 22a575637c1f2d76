//! The child: reads calls, asks its engine, writes what it says.

use std::{
    io::{self, BufReader, BufWriter, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    path::Path,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, Sender, TryRecvError},
    },
};

use super::{
    frame::{Admin, AdminError, Call, EngineSetup, FrameError, Ready, Reply, Say, VERSION, read_frame, write_frame},
    isolate,
};
use crate::{
    engine::{Engine, Event, Setup},
    tier::{RegisterError, ResolveError, Scan, Source, Tiers},
};

/// Directories that are no adapters, of which the parent is told.
const REFUSED_MAX: usize = 100;
/// Adapters in one answer to [`Admin::List`].
const LIST_MAX: usize = 10_000;

/// What the process ends with when its engine cannot go on.
const ENDED: u8 = 70;

/// The socket that the parent gave as standard input.
pub fn inherited_socket() -> io::Result<UnixStream> {
    io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from)
}

/// Runs an engine for the parent at the other end of `socket` until it is gone. To be called before any thread is started.
/// `make` builds the engine's parts; adapters are registered here.
pub fn child_main(
    socket: UnixStream,
    make: impl FnOnce(&EngineSetup, Arc<Tiers>) -> Result<Setup, String>,
) -> ExitCode {
    let mut isolation = isolate::leave();
    let Ok(writing) = socket.try_clone() else {
        return ExitCode::FAILURE;
    };
    let mut calls = BufReader::new(socket);
    let setup = match read_frame(&mut calls) {
        Ok(Call::Hello {
            version: VERSION,
            setup,
        }) => setup,
        Ok(_) | Err(_) => return ExitCode::FAILURE,
    };
    isolation.memory_limit = isolate::limit_memory(setup.memory_bytes_max);
    let (say, said) = mpsc::channel();
    let ended = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn(move || write(writing, &said));
    let code = match start(&setup, make) {
        Ok((engine, base, scan)) => {
            let ready = Ready {
                context_tokens_max: engine.shape().context_tokens_max,
                vocabulary: engine.shape().vocabulary,
                base,
                adapters: scan.registered,
                refused: scan.refused.into_iter().take(REFUSED_MAX).collect(),
                isolation,
            };
            // Whoever does not listen any more is noticed when reading.
            let _ = say.send(Say::Ready(Box::new(ready)));
            hang_up_at_end(&engine, calls.get_ref(), &ended);
            serve(&mut calls, &engine, setup.adapters.as_deref(), &say, &ended)
        }
        Err(why) => {
            let _ = say.send(Say::Unfit(why));
            ExitCode::FAILURE
        }
    };
    drop(say);
    // The parent may have gone; there is nobody to tell.
    let _ = writer.join();
    code
}

fn start(
    setup: &EngineSetup,
    make: impl FnOnce(&EngineSetup, Arc<Tiers>) -> Result<Setup, String>,
) -> Result<(Arc<Engine>, String, Scan), String> {
    let tiers = Arc::new(Tiers::new(setup.tiers, None));
    let scan = match &setup.adapters {
        Some(root) => tiers
            .register_all(Path::new(root))
            .map_err(|error| format!("could not read the adapter directory {root}: {error}"))?,
        None => Scan::default(),
    };
    let parts = make(setup, tiers)?;
    let base = protocol::BlobHash(parts.base).to_string();
    let engine = Engine::start(parts)?;
    Ok((Arc::new(engine), base, scan))
}

/// When the engine's thread is gone, no more calls are read. What it said last is still written.
fn hang_up_at_end(engine: &Engine, calls: &UnixStream, ended: &Arc<AtomicBool>) {
    let (end, ended, calls) = (engine.end(), Arc::clone(ended), calls.try_clone());
    std::thread::spawn(move || {
        // Nothing is ever sent: this returns when the thread is gone, however it went.
        let _ = end.recv();
        ended.store(true, Ordering::Release);
        let hung_up = calls.and_then(|calls| calls.shutdown(std::net::Shutdown::Read));
        if hung_up.is_err() {
            std::process::exit(ENDED.into());
        }
    });
}

fn serve(
    calls: &mut BufReader<UnixStream>,
    engine: &Arc<Engine>,
    root: Option<&str>,
    say: &Sender<Say>,
    ended: &AtomicBool,
) -> ExitCode {
    let mut running = std::collections::HashMap::new();
    loop {
        match read_frame(calls) {
            Ok(Call::Ask(number, request)) => {
                let own = say.clone();
                let events = Box::new(move |event| own.send(Say::Event(number, event)).is_ok());
                match engine.ask(*request, events) {
                    Ok(id) => {
                        running.insert(number, id);
                    }
                    Err(error) => drop(say.send(Say::Event(number, Event::Refused(error)))),
                }
                if running.len() > 2 * 65_536 {
                    // What ended is not told here; an old number is never cancelled any more.
                    running.retain(|other, _| *other + 65_536 > number);
                }
            }
            Ok(Call::Cancel(number)) => {
                if let Some(id) = running.remove(&number) {
                    engine.cancel(id);
                }
            }
            Ok(Call::Admin(number, Admin::Drain)) => {
                let (engine, say) = (Arc::clone(engine), say.clone());
                std::thread::spawn(move || {
                    engine.drain();
                    say.send(Say::Reply(number, Ok(Reply::Done)))
                });
            }
            Ok(Call::Admin(number, admin @ Admin::List { .. })) => {
                let (engine, say) = (Arc::clone(engine), say.clone());
                // It reads the headers of those it lists; meanwhile requests are taken.
                std::thread::spawn(move || say.send(Say::Reply(number, manage(&engine, None, admin))));
            }
            Ok(Call::Admin(number, admin)) => {
                drop(say.send(Say::Reply(number, manage(engine, root, admin))));
            }
            Ok(Call::Hello { .. }) | Err(FrameError::Malformed(_) | FrameError::TooLong(_)) => std::process::exit(65),
            Err(FrameError::Gone | FrameError::Read(_)) if ended.load(Ordering::Acquire) => return ENDED.into(),
            // Nobody is left to answer to; what runs is not waited for.
            Err(FrameError::Gone | FrameError::Read(_)) => std::process::exit(0),
        }
    }
}

fn manage(engine: &Engine, root: Option<&str>, admin: Admin) -> Result<Reply, AdminError> {
    let tiers = engine.tiers();
    match admin {
        Admin::Register { name, dir, expected } => {
            let root =
                root.ok_or_else(|| AdminError::Refused("this engine has no directory of adapters".to_owned()))?;
            let source = Source::within(Path::new(root), Path::new(&dir)).map_err(|error| register(&error))?;
            let generation = tiers
                .register(&name, source, expected)
                .map_err(|error| register(&error))?;
            Ok(Reply::Registered(generation.0))
        }
        Admin::Unregister { name, expected } => {
            tiers.unregister(&name, expected).map_err(|error| register(&error))?;
            Ok(Reply::Done)
        }
        Admin::Pin { name, pinned } => {
            tiers.pin(&name, pinned).map_err(|error| resolve(&error))?;
            Ok(Reply::Done)
        }
        Admin::List { after, limit } => Ok(Reply::List(tiers.list(after.as_deref(), limit.min(LIST_MAX)))),
        Admin::Names { after, limit } => {
            let names = tiers.names(after.as_deref(), limit.min(LIST_MAX)).into_iter();
            let told = names.map(|(name, hash)| (name.to_string(), hash.map(|hash| hash.to_string())));
            Ok(Reply::Names(told.collect()))
        }
        Admin::Status { name } => {
            let status = tiers.status(&name).map_err(|error| resolve(&error))?;
            Ok(Reply::List(vec![status]))
        }
        Admin::Metrics => Ok(Reply::Metrics(Box::new(engine.metrics()))),
        Admin::Drain => unreachable!("drained on a thread of its own"),
    }
}

fn register(error: &RegisterError) -> AdminError {
    match error {
        RegisterError::Generation { found, .. } => AdminError::Generation {
            found: *found,
            why: error.to_string(),
        },
        RegisterError::Unknown { .. } => AdminError::Unknown(error.to_string()),
        RegisterError::Dir { source, .. } => AdminError::Refused(format!("{error}: {source}")),
        RegisterError::Name { .. }
        | RegisterError::Outside { .. }
        | RegisterError::Refused { .. }
        | RegisterError::Full { .. } => AdminError::Refused(error.to_string()),
    }
}

fn resolve(error: &ResolveError) -> AdminError {
    match error {
        ResolveError::Unknown(_) => AdminError::Unknown(error.to_string()),
        ResolveError::Hash(_) | ResolveError::Other { .. } => AdminError::Refused(error.to_string()),
    }
}

/// Writes what is said until nobody says anything any more, or nobody listens. What waits is bounded by the answers that
/// run: none has more events than tokens.
fn write(socket: UnixStream, said: &Receiver<Say>) {
    let mut out = BufWriter::new(socket);
    loop {
        let next = match said.try_recv() {
            Err(TryRecvError::Empty) => {
                if out.flush().is_err() {
                    return;
                }
                said.recv().ok()
            }
            next => next.ok(),
        };
        let Some(next) = next else {
            // The parent may have gone.
            let _ = out.flush();
            return;
        };
        if write_frame(&mut out, &next).is_err() {
            return;
        }
    }
}
