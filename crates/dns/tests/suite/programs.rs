//! The name servers that `make clients` puts aside, as processes of a test. Not responsible for their configuration.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};

/// How long a program may take to start.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Stopped when it is dropped.
pub(crate) struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where a program is.
pub(crate) fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("clients/name_servers").join(name)
}

/// Starts a program, whose output goes to a file in the folder.
pub(crate) fn start(words: &[&str], folder: &Path) -> Program {
    let log = fs::File::create(folder.join(format!("{}.out", words[0]))).unwrap();
    let mut command = Command::new(program(words[0]));
    command.args(&words[1..]).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    Program(command.spawn().expect("cannot start a name server: run `make clients`"))
}

/// A port of the loopback address that is free for UDP and TCP.
pub(crate) async fn free_port() -> SocketAddr {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        if UdpSocket::bind(address).await.is_ok() {
            return address;
        }
    }
}
