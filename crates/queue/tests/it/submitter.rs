//! A submitter, as inbound is one.

use std::sync::Mutex;
use std::time::SystemTime;

use bytes::Bytes;
use mailtier_api::Incoming;
use mailtier_api::submit::{BodyPart, StoredPart, Submission, SubmitClient, SubmitFrame, Verdict, VerdictFrame};
use mailtier_types::{Envelope, IdSource, Mailbox, MessageId, NodeNumber, Options, ReversePath, TenantId, Timestamp};
use tokio::sync::mpsc;

use crate::system::{LIMIT, Replica};

static IDS: Mutex<Option<IdSource>> = Mutex::new(None);

/// What every message says.
pub(crate) const CONTENT: &[u8] = b"Subject: a test\r\nMessage-ID: <1@a.example>\r\n\r\nHello.\r\n";

pub(crate) struct Submitter {
    frames: mpsc::Sender<SubmitFrame>,
    verdicts: Incoming<VerdictFrame>,
    gathered: Vec<Verdict>,
}

/// A message of this sender, empty for the null sender.
pub(crate) fn submission(sender: &str, recipients: &[&str]) -> Submission {
    let now = Timestamp::from_system(SystemTime::now());
    let mut ids = IDS.lock().unwrap();
    // A number that no replica of a test gets.
    let ids = ids.get_or_insert_with(|| IdSource::new(NodeNumber::new(1000).unwrap()));
    let size_bytes = CONTENT.len() as u64;
    Submission {
        id: ids.take(u16::try_from(recipients.len()).unwrap(), now),
        resubmission: false,
        envelope: Envelope {
            sender: ReversePath::parse(sender).unwrap(),
            recipients: recipients.iter().map(|text| Mailbox::parse(text).unwrap()).collect(),
            tenant: TenantId(0),
            priority: 0,
            options: Options { received_at: now, size_bytes, ..Options::default() },
        },
        body: Bytes::from_static(CONTENT),
        parts: 0,
        screened: false,
        report: false,
    }
}

impl Submitter {
    pub(crate) async fn connect(replica: &Replica) -> Self {
        let client = SubmitClient::connect(&replica.url(), None).await.unwrap();
        let (frames, outgoing) = mpsc::channel(16);
        let verdicts = client.session(outgoing).await.unwrap();
        Self { frames, verdicts, gathered: Vec::new() }
    }

    pub(crate) async fn part(&self, id: MessageId, seq: u32, data: &'static [u8]) {
        let part = BodyPart { id, seq, data: Bytes::from_static(data) };
        self.frames.send(SubmitFrame { parts: vec![part], ..SubmitFrame::default() }).await.unwrap();
    }

    /// Waits until a part is said to be stored.
    pub(crate) async fn stored(&mut self, id: MessageId, seq: u32) {
        let part = StoredPart { id, seq };
        loop {
            let frame = tokio::time::timeout(LIMIT, self.verdicts.next()).await.expect("not stored").unwrap().unwrap();
            self.gathered.extend(frame.verdicts);
            if frame.stored.contains(&part) {
                return;
            }
        }
    }

    /// Submits and waits for the verdict.
    pub(crate) async fn submit(&mut self, submission: Submission) -> Verdict {
        let id = submission.id;
        self.frames.send(SubmitFrame { submissions: vec![submission], ..SubmitFrame::default() }).await.unwrap();
        loop {
            if let Some(place) = self.gathered.iter().position(|verdict| verdict.id == id) {
                return self.gathered.swap_remove(place);
            }
            let frame = tokio::time::timeout(LIMIT, self.verdicts.next()).await.expect("no verdict");
            self.gathered.extend(frame.unwrap().unwrap().verdicts);
        }
    }

    /// Submits what is accepted.
    pub(crate) async fn accepted(&mut self, sender: &str, recipients: &[&str]) -> MessageId {
        let submission = submission(sender, recipients);
        let id = submission.id;
        assert_eq!(self.submit(submission).await.result, Ok(()));
        id
    }
}
