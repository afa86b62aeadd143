//! A way from the programs to a database server that a test can cut, hold, and lead elsewhere: what a network, a virtual
//! address or a pooler is to an installation. Not responsible for either end.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Octets carried at a time.
const CHUNK_OCTETS: usize = 64 << 10;

/// Listens on a port of loopback and carries every connection to a Unix socket.
#[derive(Debug)]
pub struct Bridge {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    target: PathBuf,
    is_held: bool,
    is_over: bool,
    next: u64,
    open: Vec<(u64, TcpStream, UnixStream)>,
    most_open: usize,
}

impl Bridge {
    /// Leads to the socket.
    ///
    /// # Errors
    /// There is no port.
    pub fn start(target: &Path) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let state = State {
            target: target.to_owned(),
            is_held: false,
            is_over: false,
            next: 0,
            open: Vec::new(),
            most_open: 0,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let carrier = Arc::clone(&shared);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if carrier.state().is_over {
                    return;
                }
                let carrier = Arc::clone(&carrier);
                // One whose far end is away is closed at once, as a refused connection is.
                std::thread::spawn(move || drop(carrier.carry(near)));
            }
        });
        Ok(Self { address, shared })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// New connections go there from now on.
    pub fn lead_to(&self, target: &Path) {
        self.shared.state().target = target.to_owned();
    }

    /// Ends every connection.
    pub fn cut(&self) {
        for (_, near, far) in self.shared.state().open.drain(..) {
            let _ = near.shutdown(Shutdown::Both);
            let _ = far.shutdown(Shutdown::Both);
        }
    }

    /// Nothing is carried any more, and nobody is told: a network that has come apart.
    pub fn hold(&self) {
        self.shared.state().is_held = true;
    }

    /// What was held is carried after all.
    pub fn release(&self) {
        self.shared.state().is_held = false;
        self.shared.changed.notify_all();
    }

    /// Connections now, and the most at a time.
    #[must_use]
    pub fn connections(&self) -> (usize, usize) {
        let state = self.shared.state();
        (state.open.len(), state.most_open)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.shared.state().is_over = true;
        self.release();
        self.cut();
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while_held(&self) {
        let state = self.state();
        drop(self.changed.wait_while(state, |state| state.is_held).unwrap_or_else(PoisonError::into_inner));
    }

    fn carry(self: &Arc<Self>, near: TcpStream) -> io::Result<()> {
        self.wait_while_held();
        let target = self.state().target.clone();
        let far = UnixStream::connect(target)?;
        near.set_nodelay(true)?;
        let number = {
            let mut state = self.state();
            state.next += 1;
            let entry = (state.next, near.try_clone()?, far.try_clone()?);
            state.open.push(entry);
            state.most_open = state.most_open.max(state.open.len());
            state.next
        };
        let (there, from, to) = (Arc::clone(self), near.try_clone()?, far.try_clone()?);
        let upwards = std::thread::spawn(move || there.pump(from, to));
        let _ = self.pump(&far, &near);
        let _ = near.shutdown(Shutdown::Both);
        let _ = far.shutdown(Shutdown::Both);
        let _ = upwards.join();
        self.state().open.retain(|(other, _, _)| *other != number);
        Ok(())
    }

    fn pump(&self, mut from: impl Read, mut to: impl Write) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK_OCTETS];
        loop {
            let octets = from.read(&mut chunk)?;
            if octets == 0 {
                return Ok(());
            }
            self.wait_while_held();
            to.write_all(chunk.get(..octets).unwrap_or_default())?;
        }
    }
}
