//! What a thread of a generator hears, and what it no longer waits for.

use super::Planned;
use super::connection::{Connection, Talk};
use super::outcome::{Ending, Failure};
use super::poll::{Happened, now};
use super::request::ECHO;
use super::worker::Worker;

/// What has become of a connection that something came on.
enum After {
    /// It goes on, and more is to come.
    More,
    /// It can take another request.
    Ready,
    /// It has done what it was for.
    Done,
    Lost(Failure),
}

impl<I: Iterator<Item = Planned>> Worker<'_, I> {
    /// Hears what has happened to a connection; the time, if that may have made room for a request.
    pub(super) fn hear(&mut self, happened: Happened) -> Option<u64> {
        let Happened { token, has_room, is_over } = happened;
        let connection = self.pool.get(token)?;
        if connection.is_connecting {
            if !has_room && !is_over {
                return None;
            }
            let connected = connection.connected();
            let at = now();
            let greeted = connected.and_then(|()| {
                self.pool.connected(token);
                self.greet(token, at)
            });
            if let Err(failure) = greeted {
                self.lose(token, failure, at);
            }
            return Some(at);
        }
        if has_room && let Err(failure) = connection.flush() {
            let at = now();
            self.lose(token, failure, at);
            return Some(at);
        }
        self.read(token, is_over)
    }

    /// A connection is open: it says what it says first, and can take a request.
    pub(super) fn greet(&mut self, token: u64, at: u64) -> Result<(), Failure> {
        let Some(connection) = self.pool.get(token) else { return Ok(()) };
        connection.ready = at;
        match connection.talk {
            Talk::Echo(_) => return connection.send(ECHO),
            Talk::Http2(_) => connection.flush()?,
            Talk::Http1(_) | Talk::Datagram(_) => {}
        }
        self.pool.line_up(token);
        Ok(())
    }

    /// Reads what has come; the time when that may have made room for a request.
    fn read(&mut self, token: u64, is_over: bool) -> Option<u64> {
        let mut released = None;
        loop {
            let connection = self.pool.get(token)?;
            let read = connection.read(&mut self.buffer);
            let is_datagram = matches!(connection.talk, Talk::Datagram(_));
            if read == Ok(None) {
                return released;
            }
            let at = now();
            let (after, count) = match read {
                Ok(Some(count)) if count > 0 || is_datagram => (self.take(token, count, at), count),
                Ok(_) => (self.take_end(token, at), 0),
                Err(failure) => (After::Lost(failure), 0),
            };
            self.tally.outcome.bytes += count as u64;
            match after {
                After::More => {}
                After::Ready => {
                    released = Some(at);
                    if let Some(connection) = self.pool.get(token) {
                        connection.ready = at;
                    }
                    self.pool.line_up(token);
                }
                After::Done => {
                    self.vacated = at;
                    self.pool.remove(token);
                    return Some(at);
                }
                After::Lost(failure) => {
                    self.lose(token, failure, at);
                    return Some(at);
                }
            }
            // A buffer that was not filled has emptied the socket, but of the end of the stream. Of datagrams the one that was
            // awaited is the last.
            let is_empty = if is_datagram { released.is_some() } else { count < self.buffer.len() };
            if is_empty && !is_over {
                return released;
            }
        }
    }

    /// Takes so many bytes of the buffer.
    fn take(&mut self, token: u64, count: usize, at: u64) -> After {
        let Some(connection) = self.pool.get(token) else { return After::More };
        let Connection { talk, flight, .. } = connection;
        let bytes = &self.buffer[..count];
        let (status, target, after) = match talk {
            Talk::Http2(_) => return self.take_http2(token, count, at),
            Talk::Http1(_) if flight.is_none() => return After::Lost(Failure::Reset),
            Talk::Http1(reader) => match reader.hear(bytes, &mut self.tally.names) {
                Ok(false) => return After::More,
                Ok(true) if reader.is_kept => (reader.status, reader.target, After::Ready),
                Ok(true) => (reader.status, reader.target, After::Done),
                Err(_) => return After::Lost(Failure::Malformed),
            },
            Talk::Echo(heard) => {
                if !ECHO[*heard..].starts_with(bytes) {
                    return After::Lost(Failure::Malformed);
                }
                *heard += count;
                if *heard < ECHO.len() {
                    return After::More;
                }
                (0, None, After::Done)
            }
            Talk::Datagram(number) => match bytes.split_first_chunk() {
                // What comes for a request that has been given up.
                Some((other, _)) if u64::from_be_bytes(*other) != *number || flight.is_none() => {
                    return After::More;
                }
                Some((_, ECHO)) => (0, None, After::Ready),
                _ => return After::Lost(Failure::Malformed),
            },
        };
        if let Some(flight) = flight.take() {
            self.in_flight -= 1;
            self.tally.ended(flight, Ending::Answered(status), target, at);
        }
        after
    }

    fn take_http2(&mut self, token: u64, count: usize, at: u64) -> After {
        let Some(connection) = self.pool.get(token) else { return After::More };
        let mut out = std::mem::take(connection.out());
        let had_nothing = out.is_empty();
        let Talk::Http2(http2) = &mut connection.talk else { return After::More };
        let heard = http2.hear(&self.buffer[..count], &mut self.tally.names, &mut out, &mut self.ended);
        let (has_room, has_left) = (http2.has_room(), http2.has_left());
        if had_nothing && !out.is_empty() {
            self.unsent.push(token);
        }
        *connection.out() = out;
        self.settle(at);
        match heard {
            Err(_) => After::Lost(Failure::Malformed),
            Ok(()) if has_left => After::Done,
            Ok(()) if has_room => After::Ready,
            Ok(()) => After::More,
        }
    }

    /// Notes the ends of requests of HTTP/2.
    fn settle(&mut self, at: u64) {
        self.in_flight -= self.ended.len();
        for ended in self.ended.drain(..) {
            self.tally.ended(ended.flight, ended.ending, ended.target, at);
        }
    }

    /// The peer says no more.
    fn take_end(&mut self, token: u64, at: u64) -> After {
        if let Some(connection) = self.pool.get(token)
            && let Talk::Http1(reader) = &connection.talk
            && reader.ends_with_connection()
            && let Some(flight) = connection.flight
        {
            let (status, target) = (reader.status, reader.target);
            connection.flight = None;
            self.in_flight -= 1;
            self.tally.ended(flight, Ending::Answered(status), target, at);
            return After::Done;
        }
        After::Lost(Failure::Reset)
    }

    /// A connection is lost, and whatever is under way on it.
    pub(super) fn lose(&mut self, token: u64, failure: Failure, at: u64) {
        let Some(mut connection) = self.pool.remove(token) else { return };
        self.vacated = at;
        if let Some(flight) = connection.flight {
            self.in_flight -= 1;
            self.tally.ended(flight, Ending::Failed(failure), None, at);
        } else if connection.is_connecting {
            self.fail_next(failure, at);
        }
        if let Talk::Http2(http2) = &mut connection.talk {
            http2.end(failure, &mut self.ended);
            self.settle(at);
        }
    }

    /// Gives up what takes too long, and says when to look again.
    pub(super) fn scan(&mut self, at: u64) {
        let cutoff = at.saturating_sub(self.timeout);
        let mut expired = Vec::new();
        self.next_scan = u64::MAX;
        for (token, connection) in self.pool.tokens() {
            let since = match &connection.talk {
                _ if connection.is_connecting => Some(connection.opened),
                Talk::Http2(http2) => http2.oldest(),
                _ => connection.flight.map(|flight| flight.sent),
            };
            match since {
                Some(since) if since <= cutoff => expired.push(token),
                Some(since) => self.next_scan = self.next_scan.min(since + self.timeout),
                None => {}
            }
        }
        for token in expired {
            self.expire(token, cutoff, at);
        }
    }

    fn expire(&mut self, token: u64, cutoff: u64, at: u64) {
        let Some(connection) = self.pool.get(token) else { return };
        let mut out = std::mem::take(connection.out());
        match &mut connection.talk {
            Talk::Http2(http2) if !connection.is_connecting => {
                http2.give_up(cutoff, &mut out, &mut self.ended);
                if let Some(oldest) = http2.oldest() {
                    self.next_scan = self.next_scan.min(oldest + self.timeout);
                }
                *connection.out() = out;
                self.unsent.push(token);
                self.settle(at);
            }
            // What comes later bears an older number.
            Talk::Datagram(_) if let Some(flight) = connection.flight.take() => {
                self.in_flight -= 1;
                self.tally.ended(flight, Ending::Failed(Failure::Timeout), None, at);
            }
            _ => return self.lose(token, Failure::Timeout, at),
        }
        if let Some(connection) = self.pool.get(token) {
            connection.ready = at;
        }
        self.pool.line_up(token);
    }
}
