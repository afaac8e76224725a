//! A request's body on its way to a target, remembered while it is small enough to be sent again.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// Largest body that is remembered for another attempt, in bytes.
const REMEMBERED_BYTES_MAX: usize = 64 * 1024;

/// A request's body, read from its beginning. A clone reads the same body from its beginning again.
#[derive(Debug)]
pub(super) struct RequestBody {
    /// `None` for no body.
    client: Option<Rc<RefCell<ClientBody<Incoming>>>>,
    /// Remembered pieces that have been passed on.
    passed: usize,
}

/// What has come from the client, and what is still to come.
#[derive(Debug)]
struct ClientBody<B> {
    incoming: B,
    /// Bytes read so far, for the access log.
    received_bytes: Rc<Cell<u64>>,
    /// Everything read so far, while that may be needed again.
    remembered: Remembered,
    progress: Progress,
}

/// How far the client has come with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is more to come.
    Flowing,
    /// The client closed or sent nonsense before the end.
    BrokenOff,
    /// All of it has come.
    Whole,
}

/// Looks at a body that somebody else reads.
#[derive(Debug)]
pub(super) struct BodyWatch(Option<Rc<RefCell<ClientBody<Incoming>>>>);

impl BodyWatch {
    /// How far the client has come.
    pub(super) fn progress(&self) -> Progress {
        let Some(client) = &self.0 else { return Progress::Whole };
        let client = client.borrow();
        if client.incoming.is_end_stream() { Progress::Whole } else { client.progress }
    }
}

/// What another attempt would begin with.
#[derive(Debug)]
enum Remembered {
    /// All of the body so far.
    Pieces(Vec<Bytes>),
    /// It must not be sent again, or is too large, or the client broke off.
    Nothing,
}

impl RequestBody {
    /// No body.
    pub(super) fn empty() -> Self {
        Self { client: None, passed: 0 }
    }

    /// The client's body, counted as it passes, and remembered if `is_repeatable` and it is not known to be too large.
    pub(super) fn of_client(incoming: Incoming, is_repeatable: bool) -> Self {
        if incoming.is_end_stream() {
            return Self::empty();
        }
        let fits = incoming.size_hint().lower() <= REMEMBERED_BYTES_MAX as u64;
        let remembered =
            if is_repeatable && fits { Remembered::Pieces(Vec::new()) } else { Remembered::Nothing };
        let client =
            ClientBody { incoming, received_bytes: Rc::default(), remembered, progress: Progress::Flowing };
        Self { client: Some(Rc::new(RefCell::new(client))), passed: 0 }
    }

    /// Something to look at it with.
    pub(super) fn watch(&self) -> BodyWatch {
        BodyWatch(self.client.clone())
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.client.is_none()
    }

    /// Bytes read from the client so far; `None` without a body.
    pub(super) fn received_bytes(&self) -> Option<Rc<Cell<u64>>> {
        Some(self.client.as_ref()?.borrow().received_bytes.clone())
    }

    /// The same body from its beginning; `None` when that is no longer known.
    pub(super) fn again(&self) -> Option<Self> {
        match &self.client {
            None => Some(Self::empty()),
            Some(client) => {
                let is_whole = matches!(client.borrow().remembered, Remembered::Pieces(_));
                is_whole.then(|| Self { client: Some(client.clone()), passed: 0 })
            }
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> ClientBody<B> {
    /// The piece after the first `passed` ones.
    fn poll_piece(
        &mut self,
        passed: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Remembered::Pieces(pieces) = &self.remembered
            && let Some(piece) = pieces.get(passed)
        {
            return Poll::Ready(Some(Ok(Frame::data(piece.clone()))));
        }
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => self.remember(frame.data_ref()),
            // A client that broke off has nothing that another target should see.
            Some(Err(_)) => {
                self.remembered = Remembered::Nothing;
                self.progress = Progress::BrokenOff;
            }
            None => self.progress = Progress::Whole,
        }
        // Trailers of a request are not passed on: none of them may frame, route or authorise.
        Poll::Ready(frame.filter(|frame| frame.as_ref().map_or(true, Frame::is_data)))
    }

    fn remember(&mut self, piece: Option<&Bytes>) {
        let Some(piece) = piece else { return };
        let received = self.received_bytes.get() + piece.len() as u64;
        self.received_bytes.set(received);
        if received > REMEMBERED_BYTES_MAX as u64 {
            self.remembered = Remembered::Nothing;
        }
        if let Remembered::Pieces(pieces) = &mut self.remembered {
            pieces.push(piece.clone());
        }
    }

    /// Bytes of the remembered pieces after the first `passed` ones.
    fn remembered_bytes(&self, passed: usize) -> u64 {
        match &self.remembered {
            Remembered::Pieces(pieces) => pieces.iter().skip(passed).map(|piece| piece.len() as u64).sum(),
            Remembered::Nothing => 0,
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(client) = &self.client else { return Poll::Ready(None) };
        let frame = ready!(client.borrow_mut().poll_piece(self.passed, cx));
        self.passed += 1;
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.client.as_ref().is_none_or(|client| {
            let client = client.borrow();
            client.remembered_bytes(self.passed) == 0 && client.incoming.is_end_stream()
        })
    }

    fn size_hint(&self) -> SizeHint {
        let Some(client) = &self.client else { return SizeHint::with_exact(0) };
        let client = client.borrow();
        let (remembered, rest) = (client.remembered_bytes(self.passed), client.incoming.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(remembered + rest.lower());
        if let Some(upper) = rest.upper() {
            hint.set_upper(remembered + upper);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// A client that sends these pieces, and then breaks off if it is not `whole`.
    struct Client {
        pieces: VecDeque<Bytes>,
        is_whole: bool,
    }

    impl Body for Client {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
            Poll::Ready(match self.pieces.pop_front() {
                Some(piece) => Some(Ok(Frame::data(piece))),
                None if self.is_whole => None,
                None => Some(Err("broke off")),
            })
        }
    }

    fn body(pieces: &[usize], is_whole: bool) -> ClientBody<Client> {
        let pieces = pieces.iter().map(|bytes| Bytes::from(vec![b'x'; *bytes])).collect();
        ClientBody {
            incoming: Client { pieces, is_whole },
            received_bytes: Rc::default(),
            remembered: Remembered::Pieces(Vec::new()),
            progress: Progress::Flowing,
        }
    }

    /// Reads `count` pieces from the beginning; their sizes.
    fn read(body: &mut ClientBody<Client>, count: usize) -> Vec<usize> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        (0..count)
            .filter_map(|passed| match body.poll_piece(passed, &mut cx) {
                Poll::Ready(Some(Ok(frame))) => Some(frame.data_ref().unwrap().len()),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn another_attempt_reads_what_was_read_and_then_what_is_still_to_come() {
        let mut body = body(&[3, 4, 5], true);
        assert_eq!(read(&mut body, 2), [3, 4]);
        assert_eq!(body.remembered_bytes(0), 7);
        assert_eq!(read(&mut body, 4), [3, 4, 5]);
        assert_eq!(body.received_bytes.get(), 12, "nothing is counted twice");
    }

    #[test]
    fn a_body_of_just_the_largest_size_is_remembered_and_a_larger_one_is_not() {
        for (extra, is_remembered) in [(0, true), (1, false)] {
            let mut body = body(&[REMEMBERED_BYTES_MAX, extra], true);
            read(&mut body, 2);
            assert_eq!(matches!(body.remembered, Remembered::Pieces(_)), is_remembered);
        }
    }

    #[test]
    fn a_client_that_broke_off_is_not_tried_again() {
        let mut body = body(&[3], false);
        read(&mut body, 2);
        assert!(matches!(body.remembered, Remembered::Nothing));
        assert_eq!(body.progress, Progress::BrokenOff);
    }
}
