//! A server that plays a script to each connection: what it says is what stands there, whatever SMTP allows. A script is
//! a transcript, a line for each step:
//!
//! ```text
//! S: 220 peer.example ESMTP     says a line
//! C: EHLO                       waits for a line that begins like this, in any case
//! C: <content>                  waits for the content, up to its final dot
//! S: <close>                    closes the connection
//! S: <silence>                  says no more, and keeps the connection until the client closes it
//! ```
//!
//! The end of a script closes the connection. Lines not understood fail the start.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::bail;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// One connection, as far as it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conversation {
    /// The lines of the client, without line ends.
    pub heard: Vec<String>,
    /// The content as it came, dots and line ends included, without the final dot's line.
    pub content: Vec<u8>,
    /// Where the client left the script: what was expected and what came.
    pub departure: Option<String>,
}

#[derive(Debug, Clone)]
enum Step {
    Say(String),
    Expect(String),
    Content,
    Close,
    Silence,
}

/// A running scripted peer; it stops when it is dropped.
#[derive(Debug)]
pub struct ScriptedPeer {
    address: SocketAddr,
    conversations: watch::Receiver<Vec<Conversation>>,
    listening: JoinHandle<()>,
}

impl ScriptedPeer {
    /// Plays the first script to the first connection, and so on; the last also to all after it.
    ///
    /// # Errors
    /// A script cannot be understood, or no port is free.
    pub async fn start(scripts: &[&str]) -> anyhow::Result<Self> {
        let scripts: Vec<Arc<[Step]>> =
            scripts.iter().map(|text| parse(text).map(Into::into)).collect::<anyhow::Result<_>>()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (told, conversations) = watch::channel(Vec::new());
        let listening = tokio::spawn(async move {
            let mut remaining = scripts.iter();
            let mut script = remaining.next().cloned();
            while let (Ok((stream, _)), Some(steps)) = (listener.accept().await, script.clone()) {
                let told = told.clone();
                tokio::spawn(async move {
                    let conversation = play(stream, &steps).await;
                    told.send_modify(|all| all.push(conversation));
                });
                script = remaining.next().cloned().or(script);
            }
        });
        Ok(Self { address, conversations, listening })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until `count` connections are over and returns all that are.
    ///
    /// # Errors
    /// It does not listen any more.
    pub async fn conversations(&self, count: usize) -> anyhow::Result<Vec<Conversation>> {
        Ok(self.conversations.clone().wait_for(|all| all.len() >= count).await?.clone())
    }
}

impl Drop for ScriptedPeer {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

fn parse(text: &str) -> anyhow::Result<Vec<Step>> {
    let lines = text.lines().map(str::trim_start).filter(|line| !line.is_empty());
    lines
        .map(|line| match line.split_once(": ") {
            Some(("S", "<close>")) => Ok(Step::Close),
            Some(("S", "<silence>")) => Ok(Step::Silence),
            Some(("S", words)) => Ok(Step::Say(format!("{words}\r\n"))),
            Some(("C", "<content>")) => Ok(Step::Content),
            Some(("C", words)) => Ok(Step::Expect(words.to_owned())),
            _ => bail!("no step of a script: {line:?}"),
        })
        .collect()
}

async fn play(stream: TcpStream, steps: &[Step]) -> Conversation {
    let mut stream = BufReader::new(stream);
    let mut conversation = Conversation::default();
    for step in steps {
        let went = match step {
            Step::Say(words) => stream.write_all(words.as_bytes()).await,
            Step::Expect(beginning) => expect(&mut stream, beginning, &mut conversation).await,
            Step::Content => content(&mut stream, &mut conversation).await,
            Step::Close => break,
            Step::Silence => stream.read_to_end(&mut Vec::new()).await.map(drop),
        };
        if let Err(error) = went {
            conversation.departure = Some(format!("at {step:?}: {error}"));
            break;
        }
    }
    conversation
}

async fn expect(stream: &mut BufReader<TcpStream>, beginning: &str, conversation: &mut Conversation) -> io::Result<()> {
    let mut line = Vec::new();
    if stream.read_until(b'\n', &mut line).await? == 0 {
        return Err(io::Error::other("the client closed the connection"));
    }
    let line = String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned();
    let fits = line.get(..beginning.len()).is_some_and(|start| start.eq_ignore_ascii_case(beginning));
    let departure = (!fits).then(|| io::Error::other(format!("the client said {line:?}")));
    conversation.heard.push(line);
    departure.map_or(Ok(()), Err)
}

async fn content(stream: &mut BufReader<TcpStream>, conversation: &mut Conversation) -> io::Result<()> {
    loop {
        let start = conversation.content.len();
        if stream.read_until(b'\n', &mut conversation.content).await? == 0 {
            return Err(io::Error::other("the client closed the connection within the content"));
        }
        if conversation.content.get(start..) == Some(b".\r\n") {
            conversation.content.truncate(start);
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn talk(peer: &ScriptedPeer, words: &str) -> String {
        let mut stream = TcpStream::connect(peer.address()).await.unwrap();
        stream.write_all(words.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    #[tokio::test]
    async fn it_plays_its_script_and_tells_what_it_heard() {
        let script = "
            S: 220 peer.example
            C: EHLO
            S: 250-peer.example
            S: 250 PIPELINING
            C: DATA
            S: 354 go
            C: <content>
            S: 250 ok
            S: <close>
        ";
        let peer = ScriptedPeer::start(&[script]).await.unwrap();
        let answer = talk(&peer, "ehlo me\r\nDATA\r\nSubject: x\r\n\r\n..\r\n.\r\n").await;
        assert_eq!(answer, "220 peer.example\r\n250-peer.example\r\n250 PIPELINING\r\n354 go\r\n250 ok\r\n");
        talk(&peer, "QUIT\r\n").await;
        let told = peer.conversations(2).await.unwrap();
        assert_eq!(
            (&told[0].heard[..], told[0].departure.is_none()),
            (&["ehlo me".to_owned(), "DATA".to_owned()][..], true)
        );
        assert_eq!(told[0].content, b"Subject: x\r\n\r\n..\r\n");
        assert!(told[1].departure.as_ref().is_some_and(|departure| departure.contains("QUIT")), "{:?}", told[1]);
    }

    #[tokio::test]
    async fn a_script_that_cannot_be_understood_is_refused() {
        assert!(ScriptedPeer::start(&["X: nothing"]).await.is_err());
    }
}
