//! Jobs become frames: as many in one as gathered, within a frame's limit. Not responsible for sending them.

use std::collections::VecDeque;

use mailtier_api::submit::{BodyPart, StoredPart, Submission, SubmitFrame};
use mailtier_types::MessageId;
use tokio::sync::oneshot;

use super::job::{Answer, Job};

/// A frame is closed when it holds this many octets of bodies; the protocol's own limit is far beyond.
const FRAME_OCTETS: usize = 4 << 20;
/// And when it holds this many jobs.
pub(super) const FRAME_JOBS: usize = 512;

/// A frame, and who waits for what it will bring.
#[derive(Debug, Default)]
pub(super) struct Departure {
    pub(super) frame: SubmitFrame,
    pub(super) verdicts: Vec<(MessageId, oneshot::Sender<Answer>)>,
    pub(super) stored: Vec<(StoredPart, oneshot::Sender<()>)>,
}

/// Jobs in the order in which they leave, for one stream.
#[derive(Debug)]
pub(super) struct Frames {
    /// Which stream of the endpoint this is.
    generation: u64,
    steps: VecDeque<Step>,
}

#[derive(Debug)]
enum Step {
    Part(BodyPart, Option<oneshot::Sender<()>>),
    Abort(MessageId),
    Submission(Box<Submission>, oneshot::Sender<Answer>),
}

impl Step {
    fn octets(&self) -> usize {
        match self {
            Self::Part(part, _) => part.data.len(),
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
            Job::Part(part, stored) => self.steps.push_back(Step::Part(part, Some(stored))),
            Job::Abort(id) => self.steps.push_back(Step::Abort(id)),
            Job::Submit { message, resubmission, uploaded, answer } => {
                if uploaded != Some(self.generation) {
                    self.steps.extend(message.unstored.iter().map(|part| Step::Part(part.clone(), None)));
                }
                let submission = Submission {
                    id: message.id,
                    resubmission,
                    envelope: message.envelope.clone(),
                    body: message.body.clone(),
                    parts: message.parts,
                    screened: message.screened,
                    report: message.report,
                };
                self.steps.push_back(Step::Submission(Box::new(submission), answer));
            }
        }
    }

    /// The next frame. What nobody waits for any more is left out: by now another replica may have been asked.
    pub(super) fn next(&mut self) -> Departure {
        let Departure { mut frame, mut verdicts, mut stored } = Departure::default();
        let (mut octets, mut jobs) = (0, 0);
        while let Some(step) = self.steps.pop_front() {
            octets += step.octets();
            jobs += 1;
            match step {
                // Parts of a frame come before its submissions, whatever the order of the fields.
                Step::Part(part, waiting) => {
                    stored.extend(waiting.map(|waiting| (StoredPart { id: part.id, seq: part.seq }, waiting)));
                    frame.parts.push(part);
                }
                Step::Abort(id) => frame.aborted.push(id),
                Step::Submission(_, answer) if answer.is_closed() => {}
                Step::Submission(submission, answer) => {
                    verdicts.push((submission.id, answer));
                    frame.submissions.push(*submission);
                }
            }
            let next = self.steps.front().map_or(0, Step::octets);
            if jobs >= FRAME_JOBS || octets + next > FRAME_OCTETS {
                break;
            }
        }
        Departure { frame, verdicts, stored }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use mailtier_types::{Envelope, Options, ReversePath, TenantId};

    use super::super::job::Message;
    use super::*;

    fn part(id: i64, seq: u32) -> BodyPart {
        BodyPart { id: MessageId::from_i64(id).unwrap(), seq, data: Bytes::from_static(b"part") }
    }

    fn message(id: i64, unstored: &[u32], body: usize) -> Arc<Message> {
        let envelope = Envelope {
            sender: ReversePath::Null,
            recipients: vec!["a@example.org".parse().unwrap()],
            tenant: TenantId::default(),
            priority: 0,
            options: Options::default(),
        };
        Arc::new(Message {
            id: MessageId::from_i64(id).unwrap(),
            envelope,
            parts: 7,
            unstored: unstored.iter().map(|seq| part(id, *seq)).collect(),
            body: Bytes::from(vec![b'x'; body]),
            screened: false,
            report: false,
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
            let Departure { frame, verdicts, .. } = frames.next();
            assert_eq!(frame.submissions.len(), verdicts.len());
            sizes.push(verdicts.len());
        }
        assert_eq!(sizes, [512, 88 + 1, 2]);
        drop((small, large));
    }

    #[test]
    fn parts_go_again_unless_this_stream_carried_them() {
        let (mut frames, large) = (Frames::new(3), message(9, &[5, 6], 5));
        for (uploaded, parts) in [(Some(3), &[][..]), (Some(2), &[5, 6]), (None, &[5, 6])] {
            let receiver = submit(&mut frames, &large, uploaded);
            let Departure { frame, stored, .. } = frames.next();
            assert_eq!(frame.parts.iter().map(|part| part.seq).collect::<Vec<_>>(), parts, "{uploaded:?}");
            assert_eq!((frame.submissions[0].parts, frame.submissions[0].body.len()), (7, 5));
            assert!(stored.is_empty(), "the verdict says it");
            drop(receiver);
        }
    }

    #[test]
    fn who_uploads_waits_for_each_part() {
        let mut frames = Frames::new(1);
        (0..2).for_each(|seq| frames.push(Job::Part(part(9, seq), oneshot::channel().0)));
        let Departure { frame, stored, .. } = frames.next();
        // Whoever does not wait any more may have submitted the message that they belong to.
        assert_eq!(frame.parts, [part(9, 0), part(9, 1)]);
        assert_eq!(stored.into_iter().map(|(part, _)| part.seq).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn who_has_given_up_waiting_is_not_submitted() {
        let mut frames = Frames::new(1);
        drop(submit(&mut frames, &message(1, &[], 1), None));
        let waits = submit(&mut frames, &message(2, &[], 1), None);
        let Departure { frame, verdicts, .. } = frames.next();
        assert_eq!(frame.submissions.iter().map(|submission| submission.id.as_i64()).collect::<Vec<_>>(), [2]);
        assert_eq!(verdicts.len(), 1);
        drop(waits);
        assert!(frames.is_empty());
    }
}
