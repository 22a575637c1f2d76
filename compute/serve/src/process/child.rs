//! The child process: reads messages from the parent, submits requests to its engine, writes events back.

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
    frame::{
        Admin, AdminError, EngineSetup, FrameError, FromEngine, Ready, Reply, ToEngine, VERSION, read_frame,
        write_frame,
    },
    isolate,
};
use crate::{
    engine::{Engine, Event, Setup},
    tier::{RegisterError, ResolveError, Scan, Source, Tiers},
};

/// Most unusable adapter directories listed in [`Ready`].
const REFUSED_MAX: usize = 100;
/// Most adapters in one reply to [`Admin::List`].
const LIST_MAX: usize = 10_000;

/// Exit code when the engine cannot go on.
const ENDED: u8 = 70;

/// Returns the socket that the parent passed as standard input.
pub fn inherited_socket() -> io::Result<UnixStream> {
    io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from)
}

/// Runs an engine for the parent at the other end of `socket` until the parent is gone. Must be called while the process
/// has a single thread, because it leaves the network namespace. `make` builds the engine's parts; adapters are registered
/// here.
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
        Ok(ToEngine::Hello {
            version: VERSION,
            setup,
        }) => setup,
        Ok(_) | Err(_) => return ExitCode::FAILURE,
    };
    isolation.memory_limit = isolate::limit_memory(setup.memory_bytes_max);
    let (to_parent, outgoing) = mpsc::channel();
    let ended = Arc::new(AtomicBool::new(false));
    let writer = std::thread::spawn(move || write(writing, &outgoing));
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
            // A parent that no longer listens is noticed when reading.
            let _ = to_parent.send(FromEngine::Ready(Box::new(ready)));
            hang_up_at_end(&engine, calls.get_ref(), &ended);
            serve(&mut calls, &engine, setup.adapters.as_deref(), &to_parent, &ended)
        }
        Err(why) => {
            let _ = to_parent.send(FromEngine::CannotStart(why));
            ExitCode::FAILURE
        }
    };
    drop(to_parent);
    // If the parent has gone, there is nobody left to tell.
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

/// Stops reading messages once the engine's thread has ended. Events that it sent before are still written.
fn hang_up_at_end(engine: &Engine, calls: &UnixStream, ended: &Arc<AtomicBool>) {
    let (end, ended, calls) = (engine.end(), Arc::clone(ended), calls.try_clone());
    std::thread::spawn(move || {
        // Nothing is ever sent: this returns when the thread has ended.
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
    to_parent: &Sender<FromEngine>,
    ended: &AtomicBool,
) -> ExitCode {
    let mut running = std::collections::HashMap::new();
    loop {
        match read_frame(calls) {
            Ok(ToEngine::Submit(number, request)) => {
                let own = to_parent.clone();
                let events = Box::new(move |event| own.send(FromEngine::Event(number, event)).is_ok());
                match engine.submit(*request, events) {
                    Ok(id) => {
                        running.insert(number, id);
                    }
                    Err(error) => drop(to_parent.send(FromEngine::Event(number, Event::Refused(error)))),
                }
                if running.len() > 2 * 65_536 {
                    // Requests that ended stay in the map; numbers this old are never cancelled any more.
                    running.retain(|other, _| *other + 65_536 > number);
                }
            }
            Ok(ToEngine::Cancel(number)) => {
                if let Some(id) = running.remove(&number) {
                    engine.cancel(id);
                }
            }
            Ok(ToEngine::Admin(number, Admin::Drain)) => {
                let (engine, to_parent) = (Arc::clone(engine), to_parent.clone());
                std::thread::spawn(move || {
                    engine.drain();
                    to_parent.send(FromEngine::Reply(number, Ok(Reply::Done)))
                });
            }
            Ok(ToEngine::Admin(number, admin @ Admin::List { .. })) => {
                let (engine, to_parent) = (Arc::clone(engine), to_parent.clone());
                // Listing reads headers from disk; requests are taken meanwhile.
                std::thread::spawn(move || to_parent.send(FromEngine::Reply(number, manage(&engine, None, admin))));
            }
            Ok(ToEngine::Admin(number, admin)) => {
                drop(to_parent.send(FromEngine::Reply(number, manage(engine, root, admin))));
            }
            Ok(ToEngine::Hello { .. }) | Err(FrameError::Malformed(_) | FrameError::TooLong(_)) => {
                std::process::exit(65)
            }
            Err(FrameError::Gone | FrameError::Read(_)) if ended.load(Ordering::Acquire) => return ENDED.into(),
            // The parent has gone, so running requests have no reader.
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

/// Writes messages until all senders are dropped or the parent is gone. The unbounded queue is bounded by the running
/// requests: none has more events than tokens.
fn write(socket: UnixStream, outgoing: &Receiver<FromEngine>) {
    let mut out = BufWriter::new(socket);
    loop {
        let next = match outgoing.try_recv() {
            Err(TryRecvError::Empty) => {
                if out.flush().is_err() {
                    return;
                }
                outgoing.recv().ok()
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
