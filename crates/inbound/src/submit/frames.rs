//! Jobs become frames: as many in one as gathered, within a frame's limit. Not responsible for sending them.

use std::collections::VecDeque;

use mailtier_api::submit::{BodyPart, Submission, SubmitFrame};
use mailtier_types::MessageId;
use tokio::sync::oneshot;

use super::job::{Answer, Job};

/// A frame is closed when it holds this many octets of bodies; the protocol's own limit is far beyond.
const FRAME_OCTETS: usize = 4 << 20;
/// And when it holds this many jobs.
pub(super) const FRAME_JOBS: usize = 512;

/// Whose verdict is awaited.
pub(super) type Awaited = (MessageId, oneshot::Sender<Answer>);

/// Jobs in the order in which they leave, for one stream.
#[derive(Debug)]
pub(super) struct Frames {
    /// Which stream of the endpoint this is.
    generation: u64,
    steps: VecDeque<Step>,
}

#[derive(Debug)]
enum Step {
    Part(BodyPart),
    Abort(MessageId),
    Submission(Box<Submission>, oneshot::Sender<Answer>),
}

impl Step {
    fn octets(&self) -> usize {
        match self {
            Self::Part(part) => part.data.len(),
            Self::Abort(_) => 0,
            Self::Submission(submission, _) => submission.body.len(),
        }
    }
}

impl Frames {
    pub(super) const fn new(generation: u64) -> Self {
        Self { generation, steps: VecDeque::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Takes a job. A submission whose parts did not go over this very stream brings them along: what another stream
    /// carried may be lost, and a message must never be stored without its parts.
    pub(super) fn push(&mut self, job: Job) {
        match job {
            Job::Part(part) => self.steps.push_back(Step::Part(part)),
            Job::Abort(id) => self.steps.push_back(Step::Abort(id)),
            Job::Submit { message, resubmission, uploaded, answer } => {
                let parts = message.parts.iter().zip(0_u32..);
                if uploaded != Some(self.generation) {
                    let parts = parts.map(|(data, seq)| BodyPart { id: message.id, seq, data: data.clone() });
                    self.steps.extend(parts.map(Step::Part));
                }
                let submission = Submission {
                    id: message.id,
                    resubmission,
                    envelope: message.envelope.clone(),
                    body: message.body.clone(),
                    parts: u32::try_from(message.parts.len()).unwrap_or(u32::MAX),
                };
                self.steps.push_back(Step::Submission(Box::new(submission), answer));
            }
        }
    }

    /// The next frame, and whose verdicts it will bring. What nobody waits for any more is left out: by now another
    /// replica may have been asked.
    pub(super) fn next(&mut self) -> (SubmitFrame, Vec<Awaited>) {
        let (mut frame, mut awaited) = (SubmitFrame::default(), Vec::new());
        let (mut octets, mut jobs) = (0, 0);
        while let Some(step) = self.steps.pop_front() {
            octets += step.octets();
            jobs += 1;
            match step {
                // Parts of a frame come before its submissions, whatever the order of the fields.
                Step::Part(part) => frame.parts.push(part),
                Step::Abort(id) => frame.aborted.push(id),
                Step::Submission(_, answer) if answer.is_closed() => {}
                Step::Submission(submission, answer) => {
                    awaited.push((submission.id, answer));
                    frame.submissions.push(*submission);
                }
            }
            let next = self.steps.front().map_or(0, Step::octets);
            if jobs >= FRAME_JOBS || octets + next > FRAME_OCTETS {
                break;
            }
        }
        (frame, awaited)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use mailtier_types::{Envelope, Options, ReversePath, TenantId};

    use super::super::job::Message;
    use super::*;

    fn message(id: i64, parts: &[usize], body: usize) -> Arc<Message> {
        let envelope = Envelope {
            sender: ReversePath::Null,
            recipients: vec!["a@example.org".parse().unwrap()],
            tenant: TenantId::default(),
            priority: 0,
            options: Options::default(),
        };
        let chunk = |octets: usize| Bytes::from(vec![b'x'; octets]);
        Arc::new(Message {
            id: MessageId::from_i64(id).unwrap(),
            envelope,
            parts: parts.iter().copied().map(chunk).collect(),
            body: chunk(body),
        })
    }

    fn submit(frames: &mut Frames, message: &Arc<Message>, uploaded: Option<u64>) -> oneshot::Receiver<Answer> {
        let (answer, receiver) = oneshot::channel();
        frames.push(Job::Submit { message: Arc::clone(message), resubmission: false, uploaded, answer });
        receiver
    }

    #[test]
    fn what_gathered_leaves_in_one_frame_up_to_its_limits() {
        let mut frames = Frames::new(1);
        let small: Vec<_> = (1..=600).map(|id| submit(&mut frames, &message(id, &[], 1000), None)).collect();
        let large: Vec<_> = (601..=603).map(|id| submit(&mut frames, &message(id, &[], 2 << 20), None)).collect();
        let mut sizes = Vec::new();
        while !frames.is_empty() {
            let (frame, awaited) = frames.next();
            assert_eq!(frame.submissions.len(), awaited.len());
            sizes.push(awaited.len());
        }
        assert_eq!(sizes, [512, 88 + 1, 2]);
        drop((small, large));
    }

    #[test]
    fn parts_go_again_unless_this_stream_carried_them() {
        let (mut frames, large) = (Frames::new(3), message(9, &[10, 20], 5));
        for (uploaded, parts) in [(Some(3), 0), (Some(2), 2), (None, 2)] {
            let receiver = submit(&mut frames, &large, uploaded);
            let (frame, _) = frames.next();
            assert_eq!(frame.parts.len(), parts, "{uploaded:?}");
            assert_eq!((frame.submissions[0].parts, frame.submissions[0].body.len()), (2, 5));
            assert!(frame.parts.iter().zip(0..).all(|(part, seq)| part.seq == seq && part.id == large.id));
            drop(receiver);
        }
    }

    #[test]
    fn who_has_given_up_waiting_is_not_submitted() {
        let mut frames = Frames::new(1);
        drop(submit(&mut frames, &message(1, &[], 1), None));
        let waits = submit(&mut frames, &message(2, &[], 1), None);
        let (frame, awaited) = frames.next();
        assert_eq!(frame.submissions.iter().map(|submission| submission.id.as_i64()).collect::<Vec<_>>(), [2]);
        assert_eq!(awaited.len(), 1);
        drop(waits);
        assert!(frames.is_empty());
    }
}
