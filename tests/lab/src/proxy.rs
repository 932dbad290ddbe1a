//! A bad network: a TCP proxy on the loopback that breaks connections on request.
//!
//! A connection's fate is fixed when it is accepted, from the faults active at that moment, and depends on bytes counted and
//! never on the clock. Bytes are counted on the way from server to client. Everything ends when the [`Proxy`] is dropped: no
//! thread and no socket outlives it. There are no delays on the way to the server, no TLS and no UDP.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::socket::{setsockopt, sockopt};

/// How long a blocked read or write takes to see that the proxy ends.
const TICK: Duration = Duration::from_millis(50);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// What becomes of one connection. Counts are bytes that the client has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// None.
    Pass,
    /// The connection is reset before it carries anything.
    Refuse,
    /// It is reset (RST) after this many bytes.
    Reset {
        /// Bytes let through.
        after: u64,
    },
    /// It ends in good order (FIN) after this many bytes: what a truncated transfer looks like.
    Truncate {
        /// Bytes let through.
        after: u64,
    },
    /// It stays open and says nothing more after this many bytes, until the proxy ends.
    Stall {
        /// Bytes let through.
        after: u64,
    },
    /// It carries no more than this many bytes each second. The one fault that knows the clock.
    Slow {
        /// Bytes let through each second.
        bytes_per_second: u64,
    },
}

/// What a proxy has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections accepted, those refused among them.
    pub connections: u64,
    /// Connections that were in fact refused, reset, truncated or stalled: one that ended before it had carried as many
    /// bytes as its fault lets through is not among them.
    pub broken: u64,
    /// Bytes given to clients.
    pub bytes: u64,
}

/// A proxy that runs until it is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    server: SocketAddr,
    plan: Mutex<Plan>,
    ended: AtomicBool,
    connections: AtomicU64,
    broken: AtomicU64,
    bytes: AtomicU64,
}

/// `fault` for so many connections that are still to come (`None`: for all), then `Pass`.
struct Plan {
    fault: Fault,
    left: Option<u64>,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and passes everything on to `server`.
    ///
    /// # Errors
    /// No port can be had.
    pub fn start(server: SocketAddr) -> Result<Proxy> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port on the loopback for the proxy")?;
        listener.set_nonblocking(true).context("the proxy's socket")?;
        let address = listener.local_addr().context("the proxy's port")?;
        let shared = Arc::new(Shared {
            server,
            plan: Mutex::new(Plan {
                fault: Fault::Pass,
                left: None,
            }),
            ended: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            broken: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        });
        let accepting = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Ok(Proxy {
            address,
            shared,
            accepting: Some(accepting),
        })
    }

    /// Where it listens. A guest with QEMU's user network reaches the port at 10.0.2.2.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every connection from now on has this fault.
    pub fn break_all(&self, fault: Fault) {
        self.plan(Plan { fault, left: None });
    }

    /// The next `count` connections have this fault, those behind them none. A clone over `git://` is one connection;
    /// one over HTTP is several, of which only the last is long: there, use [`Proxy::break_all`] and heal when
    /// [`Counts::broken`] says so.
    pub fn break_next(&self, count: u64, fault: Fault) {
        self.plan(Plan {
            fault,
            left: Some(count),
        });
    }

    /// Connections from now on have no fault. Those that stall go on stalling.
    pub fn restore(&self) {
        self.break_all(Fault::Pass);
    }

    /// What it has seen so far.
    pub fn counts(&self) -> Counts {
        Counts {
            connections: self.shared.connections.load(Ordering::SeqCst),
            broken: self.shared.broken.load(Ordering::SeqCst),
            bytes: self.shared.bytes.load(Ordering::SeqCst),
        }
    }

    fn plan(&self, plan: Plan) {
        *self.shared.plan.lock().unwrap_or_else(PoisonError::into_inner) = plan;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        if let Some(accepting) = self.accepting.take() {
            // A thread that panicked has ended as well.
            let _ = accepting.join();
        }
    }
}

impl Shared {
    fn ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Decides the fate of one connection.
    fn next(&self) -> Fault {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut plan.left {
            None => plan.fault,
            Some(0) => Fault::Pass,
            Some(left) => {
                *left -= 1;
                plan.fault
            }
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut running: Vec<JoinHandle<()>> = Vec::new();
    while !shared.ended() {
        match listener.accept() {
            Ok((client, _)) => {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let fault = shared.next();
                let shared = Arc::clone(shared);
                running.push(thread::spawn(move || serve(client, fault, &shared)));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(5)),
            // A client that went before it was accepted; the next one may be better.
            Err(_) => thread::sleep(TICK),
        }
        running.retain(|thread| !thread.is_finished());
    }
    for thread in running {
        let _ = thread.join();
    }
}

/// Carries one connection to its end, whichever that is. Errors of the sockets are that end and nothing else.
fn serve(client: TcpStream, fault: Fault, shared: &Arc<Shared>) {
    if fault == Fault::Refuse {
        shared.broken.fetch_add(1, Ordering::SeqCst);
        return linger_not(&client);
    }
    let Ok(server) = TcpStream::connect_timeout(&shared.server, CONNECT_LIMIT) else {
        // A dead server behind a living proxy looks to the client as a dead server does.
        return linger_not(&client);
    };
    for stream in [&client, &server] {
        let ready = stream
            .set_nonblocking(false)
            .and_then(|()| stream.set_read_timeout(Some(TICK)))
            .and_then(|()| stream.set_write_timeout(Some(TICK)))
            .and_then(|()| stream.set_nodelay(true));
        if ready.is_err() {
            return linger_not(&client);
        }
    }
    let (Ok(from_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) else {
        return linger_not(&client);
    };
    let done = Arc::new(AtomicBool::new(false));
    let upward = thread::spawn({
        let shared = Arc::clone(shared);
        let done = Arc::clone(&done);
        move || {
            let ended = || shared.ended() || done.load(Ordering::SeqCst);
            copy(from_client, &to_server, u64::MAX, None, &ended, &mut |_| {});
            let _ = to_server.shutdown(Shutdown::Write);
        }
    });
    let (limit, speed) = match fault {
        Fault::Pass | Fault::Refuse => (u64::MAX, None),
        Fault::Reset { after } | Fault::Truncate { after } | Fault::Stall { after } => (after, None),
        Fault::Slow { bytes_per_second } => (u64::MAX, Some(bytes_per_second.max(1))),
    };
    let mut count = |bytes: u64| {
        shared.bytes.fetch_add(bytes, Ordering::SeqCst);
    };
    let full = copy(&server, &client, limit, speed, &|| shared.ended(), &mut count);
    if full {
        shared.broken.fetch_add(1, Ordering::SeqCst);
    }
    match fault {
        Fault::Stall { .. } if full => {
            while !shared.ended() {
                thread::sleep(TICK);
            }
        }
        Fault::Reset { .. } if full => linger_not(&client),
        _ => {
            let _ = client.shutdown(Shutdown::Write);
            // The other direction ends when the client has read what there is and closes, or the proxy ends.
            if !full {
                while !shared.ended() && !upward.is_finished() {
                    thread::sleep(Duration::from_millis(5));
                }
            }
        }
    }
    done.store(true, Ordering::SeqCst);
    let _ = upward.join();
    // Both sockets close here, with RST when that was asked for.
}

/// Copies until the end of `from`, an error, `ended`, or `limit` bytes; true when it was the limit.
fn copy(
    mut from: impl Read,
    mut to: impl Write,
    limit: u64,
    bytes_per_second: Option<u64>,
    ended: &dyn Fn() -> bool,
    count: &mut dyn FnMut(u64),
) -> bool {
    let mut buffer = [0; 16 * 1024];
    let mut left = limit;
    while left > 0 {
        let most = match bytes_per_second {
            Some(speed) => (speed / 20).clamp(1, buffer.len() as u64),
            None => buffer.len() as u64,
        };
        let most = usize::try_from(most.min(left)).unwrap_or(buffer.len());
        if ended() {
            return false;
        }
        let got = match from.read(&mut buffer[..most]) {
            Ok(0) => return false,
            Ok(got) => got,
            Err(error) if waits(&error) => continue,
            Err(_) => return false,
        };
        let mut written = 0;
        while written < got {
            match to.write(&buffer[written..got]) {
                Ok(0) => return false,
                Ok(some) => {
                    written += some;
                    count(some as u64);
                }
                Err(error) if waits(&error) && !ended() => {}
                Err(_) => return false,
            }
        }
        left -= got as u64;
        if bytes_per_second.is_some() {
            thread::sleep(TICK);
        }
    }
    true
}

fn waits(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

/// Makes the close of a socket, which follows, an abort: with a linger time of zero the kernel sends RST.
fn linger_not(stream: &TcpStream) {
    // Where the option is refused the connection ends with FIN, which is an end as well.
    let _ = setsockopt(
        stream,
        sockopt::Linger,
        &nix::libc::linger {
            l_onoff: 1,
            l_linger: 0,
        },
    );
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Instant;

    /// A server that says `bytes` bytes to everybody and hangs up.
    fn talker(bytes: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = stream.unwrap().write_all(&vec![7; bytes]);
            }
        });
        address
    }

    fn fetch(proxy: &Proxy) -> std::io::Result<usize> {
        let mut stream = TcpStream::connect(proxy.address())?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        let mut all = Vec::new();
        stream
            .read_to_end(&mut all)
            .map_err(|error| std::io::Error::new(error.kind(), all.len().to_string()))
    }

    #[test]
    fn each_fault_is_what_it_says_and_only_for_as_long() {
        let proxy = Proxy::start(talker(200_000)).unwrap();
        assert_eq!(fetch(&proxy).unwrap(), 200_000);

        proxy.break_next(1, Fault::Truncate { after: 1_000 });
        assert_eq!(fetch(&proxy).unwrap(), 1_000);
        assert_eq!(
            fetch(&proxy).unwrap(),
            200_000,
            "the fault was for one connection"
        );

        proxy.break_all(Fault::Refuse);
        assert_eq!(fetch(&proxy).unwrap_err().kind(), ErrorKind::ConnectionReset);

        proxy.break_all(Fault::Reset { after: 50_000 });
        assert_eq!(fetch(&proxy).unwrap_err().kind(), ErrorKind::ConnectionReset);

        proxy.break_all(Fault::Stall { after: 1_000 });
        let error = fetch(&proxy).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert_eq!(error.to_string(), "1000");

        proxy.restore();
        assert_eq!(fetch(&proxy).unwrap(), 200_000);
        let counts = proxy.counts();
        assert_eq!((counts.connections, counts.broken), (7, 4));
        assert_eq!(counts.bytes, 3 * 200_000 + 1_000 + 50_000 + 1_000);
    }

    #[test]
    fn it_ends_at_once_with_a_connection_that_stalls() {
        let proxy = Proxy::start(talker(10)).unwrap();
        proxy.break_all(Fault::Stall { after: 0 });
        let _open = TcpStream::connect(proxy.address()).unwrap();
        thread::sleep(Duration::from_millis(50));
        let started = Instant::now();
        drop(proxy);
        assert!(
            started.elapsed() < Duration::from_secs(2),
            "{:?}",
            started.elapsed()
        );
    }
}
