//! A server in virtual time: who is served, who waits, and when the next one is done.
//!
//! Whoever is served advances alike, so that one clock, the *attained service*, tells for all of them: a job is done when the clock
//! has come to what it was at its start, and the job's work beyond. A server that gets slower, stops, or is shared by more slows
//! its clock, and touches no job.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

/// How a server serves those who come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discipline {
    /// First come, first served: so many at a time, the others wait, in order.
    Fcfs {
        /// Served at a time: at least 1.
        slots: u32,
        /// Waiting at most; whoever comes beyond is refused.
        queue: u32,
    },
    /// All at once, each with its part of so many cores.
    ProcessorSharing {
        /// At least 1; nobody has more than one.
        cores: u32,
    },
    /// All at once, nobody slower for it.
    Infinite,
}

/// A server, with the jobs that it has.
#[derive(Debug)]
pub(crate) struct Server {
    discipline: Discipline,
    pace: Pace,
    /// Attained service at `as_of`, in nanoseconds of work.
    attained: f64,
    as_of: u64,
    served: BinaryHeap<Served>,
    waiting: VecDeque<Job>,
    jobs_ever: u64,
    /// Which announcement of a completion counts; earlier ones are void.
    announcement: u32,
    /// When the last one that was announced is.
    announced_at: Option<u64>,
}

/// How fast a server is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pace {
    /// Work per time of one job that has all it needs: 1 does a nanosecond's work in a nanosecond, 0 stands still.
    pub(crate) speed: f64,
    /// The part of the cores that is there, where cores are shared.
    pub(crate) capacity: f64,
}

/// A number of the caller's, and work in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub(crate) number: u32,
    pub(crate) work: u64,
}

#[derive(Debug)]
struct Served {
    /// Attained service at which it is done, then the order of starting.
    done_at: f64,
    order: u64,
    number: u32,
}

/// A completion to be announced: when, and the number that the announcement must bring.
pub(crate) type Announcement = Option<(u64, u32)>;

impl Server {
    pub(crate) fn new(discipline: Discipline, speed: f64) -> Self {
        Self {
            discipline,
            pace: Pace { speed, capacity: 1.0 },
            attained: 0.0,
            as_of: 0,
            served: BinaryHeap::new(),
            waiting: VecDeque::new(),
            jobs_ever: 0,
            announcement: 0,
            announced_at: None,
        }
    }

    /// Jobs that are served or wait.
    pub(crate) fn jobs(&self) -> usize {
        self.served.len() + self.waiting.len()
    }

    /// Takes in a job. `Err` when there is no room; or whether it is served at once, and the completion to announce if that changed.
    pub(crate) fn enter(&mut self, job: Job, now: u64) -> Result<(bool, Announcement), ()> {
        match self.discipline {
            Discipline::Fcfs { slots, queue } if self.served.len() >= slots as usize => {
                if self.waiting.len() >= queue as usize {
                    return Err(());
                }
                self.waiting.push_back(job);
                Ok((false, None))
            }
            _ => {
                self.advance(now);
                self.serve(job);
                Ok((true, self.announce(now)))
            }
        }
    }

    /// Lets the job out that is done `now`, if `announcement` still counts: its number, the number of the one that is served in its
    /// place, and the next completion.
    pub(crate) fn leave(&mut self, announcement: u32, now: u64) -> Option<(u32, Option<u32>, Announcement)> {
        if announcement != self.announcement || self.announced_at != Some(now) {
            return None;
        }
        self.advance(now);
        let done = self.served.pop()?;
        // What was rounded up to a nanosecond is not lost to those who follow.
        self.attained = self.attained.max(done.done_at);
        if self.served.is_empty() {
            // Nobody is left whom the clock is for: small numbers stay exact.
            self.attained = 0.0;
        }
        let next = self.waiting.pop_front();
        if let Some(job) = next {
            self.serve(job);
        }
        self.announced_at = None;
        Some((done.number, next.map(|job| job.number), self.announce(now)))
    }

    /// Changes its speed: the completion to announce instead.
    pub(crate) fn change_pace(&mut self, pace: Pace, now: u64) -> Announcement {
        self.advance(now);
        self.pace = pace;
        self.announced_at = None;
        self.announcement = self.announcement.wrapping_add(1);
        self.announce(now)
    }

    /// Takes everybody out: it has crashed. Their numbers, in the order of starting, then of coming.
    pub(crate) fn clear(&mut self) -> Vec<u32> {
        self.announced_at = None;
        self.announcement = self.announcement.wrapping_add(1);
        let mut served = std::mem::take(&mut self.served).into_vec();
        served.sort_unstable_by_key(|served| served.order);
        let waiting = self.waiting.drain(..).map(|job| job.number);
        served.into_iter().map(|served| served.number).chain(waiting).collect()
    }

    fn serve(&mut self, job: Job) {
        // How long somebody waits who is in nobody's way is settled when he comes.
        let work = match self.discipline {
            Discipline::Infinite if self.pace.speed > 0.0 => job.work as f64 / self.pace.speed,
            _ => job.work as f64,
        };
        self.served.push(Served { done_at: self.attained + work, order: self.jobs_ever, number: job.number });
        self.jobs_ever += 1;
    }

    /// Work per time of each job that is served.
    fn pace(&self) -> f64 {
        let Pace { speed, capacity } = self.pace;
        match self.discipline {
            Discipline::Fcfs { .. } => speed,
            Discipline::ProcessorSharing { cores } => {
                speed * (f64::from(cores) * capacity / self.served.len().max(1) as f64).min(1.0)
            }
            Discipline::Infinite => f64::from(u8::from(speed > 0.0)),
        }
    }

    fn advance(&mut self, now: u64) {
        self.attained += (now - self.as_of) as f64 * self.pace();
        self.as_of = now;
    }

    fn announce(&mut self, now: u64) -> Announcement {
        let pace = self.pace();
        let first = self.served.peek().filter(|_| pace > 0.0)?;
        let at = now.saturating_add(((first.done_at - self.attained) / pace).max(0.0).ceil() as u64);
        if self.announced_at == Some(at) {
            return None;
        }
        self.announced_at = Some(at);
        self.announcement = self.announcement.wrapping_add(1);
        Some((at, self.announcement))
    }
}

impl Ord for Served {
    /// The heap gives the largest first, which is done first here.
    fn cmp(&self, other: &Self) -> Ordering {
        other.done_at.total_cmp(&self.done_at).then(other.order.cmp(&self.order))
    }
}

impl PartialOrd for Served {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Served {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Served {}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs jobs of `(comes at, work)` to their ends: `(number, done at)`, with changes of speed in between.
    fn run(discipline: Discipline, jobs: &[(u64, u64)], speeds: &[(u64, f64)]) -> Vec<(u32, u64)> {
        let mut server = Server::new(discipline, 1.0);
        let mut announced: Announcement = None;
        let mut done = Vec::new();
        for now in 0..1_000 {
            while let Some((_, announcement)) = announced.filter(|(at, _)| *at == now) {
                announced = None;
                if let Some((number, _, next)) = server.leave(announcement, now) {
                    done.push((number, now));
                    announced = next;
                }
            }
            for (_, speed) in speeds.iter().filter(|(at, _)| *at == now) {
                announced = server.change_pace(Pace { speed: *speed, capacity: 1.0 }, now);
            }
            for (number, (_, work)) in (0..).zip(jobs).filter(|(_, (at, _))| *at == now) {
                if let Ok((_, Some(next))) = server.enter(Job { number, work: *work }, now) {
                    announced = Some(next);
                }
            }
        }
        assert_eq!(server.jobs(), 0);
        done
    }

    const FCFS: Discipline = Discipline::Fcfs { slots: 1, queue: u32::MAX };

    #[test]
    fn first_come_is_first_served() {
        assert_eq!(run(FCFS, &[(0, 10), (1, 5), (50, 5)], &[]), [(0, 10), (1, 15), (2, 55)]);
        let two = Discipline::Fcfs { slots: 2, queue: u32::MAX };
        assert_eq!(run(two, &[(0, 10), (1, 5), (2, 5)], &[]), [(1, 6), (0, 10), (2, 11)]);
    }

    #[test]
    fn a_full_queue_refuses() {
        let one = Discipline::Fcfs { slots: 1, queue: 1 };
        assert_eq!(run(one, &[(0, 10), (1, 5), (2, 5)], &[]), [(0, 10), (1, 15)]);
    }

    #[test]
    fn those_who_share_are_slower_for_it() {
        // Alone for 10, with two for 20 (10 each), and the rest alone.
        let sharing = Discipline::ProcessorSharing { cores: 1 };
        assert_eq!(run(sharing, &[(0, 30), (10, 10)], &[]), [(1, 30), (0, 40)]);
        assert_eq!(
            run(Discipline::ProcessorSharing { cores: 2 }, &[(0, 30), (10, 10)], &[]),
            [(1, 20), (0, 30)]
        );
        assert_eq!(run(Discipline::Infinite, &[(0, 30), (10, 10)], &[]), [(1, 20), (0, 30)]);
    }

    #[test]
    fn a_server_with_fewer_cores_slows_those_down_who_need_them() {
        let mut server = Server::new(Discipline::ProcessorSharing { cores: 4 }, 1.0);
        let half = Pace { speed: 1.0, capacity: 0.5 };
        assert_eq!(server.change_pace(half, 0), None);
        let announced: Vec<_> = (0..3).map(|number| server.enter(Job { number, work: 100 }, 0)).collect();
        // Two have what they need; with the third all have two thirds of it.
        assert_eq!(announced, [Ok((true, Some((100, 2)))), Ok((true, None)), Ok((true, Some((150, 3))))]);
    }

    #[test]
    fn what_takes_its_time_anywhere_takes_what_was_settled_when_it_came() {
        assert_eq!(run(Discipline::Infinite, &[(0, 30), (20, 30)], &[(10, 0.5)]), [(0, 30), (1, 80)]);
    }

    #[test]
    fn a_server_that_slows_down_or_stops_delays_whom_it_serves() {
        assert_eq!(run(FCFS, &[(0, 10), (0, 10)], &[(5, 0.5), (20, 1.0)]), [(0, 15), (1, 28)]);
        assert_eq!(run(FCFS, &[(0, 10)], &[(5, 0.0), (105, 1.0)]), [(0, 110)]);
    }
}
