//! The key sets that a worker has fetched: kept, renewed behind the requests that use them, and asked for once at a time.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use weir_core::authentication::AuthenticationError;
use weir_core::url::HttpUrl;

use crate::jwks::{BYTES_MAX, Keys};

/// Longest time that an endpoint has to answer: AWS's.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// Age from which on a set is fetched anew while it is used.
const RENEW_AFTER: Duration = Duration::from_secs(5 * 60);

/// Age beyond which a set that cannot be renewed is not used any more: a key that was taken back must not pass for ever.
const KEPT_MAX: Duration = Duration::from_secs(60 * 60);

/// Least time between two fetches of a set that has answered, however many tokens name keys that it has not.
const UNKNOWN_KEY_INTERVAL: Duration = Duration::from_secs(3);

/// Least time between two fetches of a set that could not be had.
const FAILURE_INTERVAL: Duration = Duration::from_secs(1);

/// Sets without a use that a worker keeps; beyond that the ones that reloads have left behind go.
const SETS_MAX: usize = 64;

/// Every set that a worker has fetched, by its endpoint.
#[derive(Debug, Default)]
pub(crate) struct KeySets(RefCell<BTreeMap<HttpUrl, Rc<KeySet>>>);

impl KeySets {
    /// The set of an endpoint.
    pub(crate) fn of(&self, endpoint: &HttpUrl) -> Rc<KeySet> {
        let mut sets = self.0.borrow_mut();
        if let Some(set) = sets.get(endpoint) {
            return set.clone();
        }
        if sets.len() >= SETS_MAX {
            sets.retain(|_, set| {
                set.state.borrow().kept().is_some_and(|fetched| fetched.elapsed() < KEPT_MAX)
            });
        }
        let set = Rc::new(KeySet::at(endpoint));
        sets.insert(endpoint.clone(), set.clone());
        set
    }
}

/// The key set of one endpoint.
#[derive(Debug)]
pub(crate) struct KeySet {
    endpoint: HttpUrl,
    state: RefCell<State>,
    /// Says that a fetch has ended.
    news: Notify,
}

/// What is known of a set.
#[derive(Debug, Default)]
struct State {
    /// The last good set, and when it was fetched.
    keys: Option<(Rc<Keys>, Instant)>,
    /// When the last fetch ended, and why it gave no set.
    last: Option<(Instant, Option<AuthenticationError>)>,
    is_being_fetched: bool,
}

impl State {
    fn kept(&self) -> Option<Instant> {
        self.keys.as_ref().map(|(_, fetched)| *fetched)
    }

    /// The set, unless it is too old.
    fn usable(&self, now: Instant) -> Option<Rc<Keys>> {
        self.keys.as_ref().filter(|(_, fetched)| now - *fetched < KEPT_MAX).map(|(keys, _)| keys.clone())
    }

    /// Whether another fetch may begin so soon after the last one.
    fn may_fetch(&self, now: Instant) -> bool {
        let pause = match &self.last {
            None => return true,
            Some((_, None)) => UNKNOWN_KEY_INTERVAL,
            Some((_, Some(_))) => FAILURE_INTERVAL,
        };
        self.last.as_ref().is_none_or(|(ended, _)| now - *ended >= pause)
    }

    fn is_old(&self, now: Instant) -> bool {
        self.kept().is_none_or(|fetched| now - fetched >= RENEW_AFTER)
    }
}

impl KeySet {
    fn at(endpoint: &HttpUrl) -> Self {
        Self { endpoint: endpoint.clone(), state: RefCell::default(), news: Notify::new() }
    }

    /// The keys, with that of `id` among them where the endpoint has it.
    ///
    /// # Errors
    /// There are none, and why.
    pub(crate) async fn get(self: &Rc<Self>, id: Option<&str>) -> Result<Rc<Keys>, AuthenticationError> {
        let now = Instant::now();
        let usable = self.state.borrow().usable(now);
        match usable {
            Some(keys) if id.is_none_or(|id| keys.has(id)) => {
                if self.state.borrow().is_old(now) {
                    self.begin_fetch(now);
                }
                Ok(keys)
            }
            _ => {
                self.begin_fetch(now);
                self.fetched().await;
                let state = self.state.borrow();
                state.usable(Instant::now()).ok_or_else(|| {
                    let why = state.last.and_then(|(_, why)| why);
                    why.unwrap_or(AuthenticationError::JwksUnreachable)
                })
            }
        }
    }

    /// Begins to fetch, unless somebody has, or has just done so. The fetch goes on when whoever asked has gone.
    fn begin_fetch(self: &Rc<Self>, now: Instant) {
        let mut state = self.state.borrow_mut();
        if state.is_being_fetched || !state.may_fetch(now) {
            return;
        }
        state.is_being_fetched = true;
        let set = self.clone();
        tokio::task::spawn_local(async move {
            let fetched = timeout(FETCH_TIMEOUT, fetch(&set.endpoint)).await;
            let fetched = fetched.unwrap_or(Err(AuthenticationError::JwksUnreachable));
            set.take_in(fetched);
            set.news.notify_waiters();
        });
    }

    fn take_in(&self, fetched: Result<Keys, AuthenticationError>) {
        let mut state = self.state.borrow_mut();
        let now = Instant::now();
        state.is_being_fetched = false;
        let why = fetched.as_ref().err().copied();
        if why != state.last.and_then(|(_, why)| why) {
            match why {
                Some(why) => tracing::warn!("{}: {why}", self.endpoint),
                None => tracing::info!("{}: has keys again", self.endpoint),
            }
        }
        state.last = Some((now, why));
        if let Ok(keys) = fetched {
            state.keys = Some((Rc::new(keys), now));
        }
    }

    /// Waits until no fetch is under way.
    async fn fetched(&self) {
        loop {
            let news = self.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            if !self.state.borrow().is_being_fetched {
                return;
            }
            news.await;
        }
    }
}

async fn fetch(endpoint: &HttpUrl) -> Result<Keys, AuthenticationError> {
    const OK: u16 = 200;
    let answer = weir_fetch::get(endpoint, &[]).await.map_err(|error| {
        tracing::debug!("{endpoint}: {error}");
        AuthenticationError::JwksUnreachable
    })?;
    if answer.status != OK {
        return Err(AuthenticationError::JwksRefused);
    }
    match answer.whole(BYTES_MAX).await {
        Ok(document) => Keys::parse(&document),
        Err(weir_fetch::ClientError::TooLarge(_)) => Err(AuthenticationError::JwksInvalid),
        Err(_) => Err(AuthenticationError::JwksUnreachable),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::task::LocalSet;

    use super::*;
    use crate::jwks::testing::Issuer;

    /// An endpoint that says `document`, and how often it was asked.
    async fn endpoint(document: String) -> (HttpUrl, Rc<Cell<usize>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap()).parse().unwrap();
        let asked = Rc::new(Cell::new(0));
        let counted = asked.clone();
        tokio::task::spawn_local(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.set(counted.get() + 1);
                let _ = stream.read(&mut [0; 4096]).await;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", document.len());
                let _ = stream.write_all(format!("{head}{document}").as_bytes()).await;
            }
        });
        (url, asked)
    }

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, test);
    }

    #[test]
    fn many_who_want_a_set_at_the_same_time_have_it_fetched_once() {
        run(async {
            let (url, asked) = endpoint(Issuer::new("a").document()).await;
            let sets = Rc::new(KeySets::default());
            let wanting = (0..20).map(|at| {
                let set = sets.of(&url);
                // Some name a key that there is, some one that there is not, some none.
                let id = [Some("a"), Some("b"), None][at % 3];
                tokio::task::spawn_local(async move { set.get(id).await.map(drop) })
            });
            for wants in wanting.collect::<Vec<_>>() {
                assert_eq!(wants.await.unwrap(), Ok(()));
            }
            assert_eq!(asked.get(), 1);
        });
    }

    #[test]
    fn a_fetch_goes_on_when_whoever_began_it_has_gone() {
        run(async {
            let (url, asked) = endpoint(Issuer::new("a").document()).await;
            let set = KeySets::default().of(&url);
            let gone = set.clone();
            let began = tokio::task::spawn_local(async move { gone.get(None).await.map(drop) });
            tokio::task::yield_now().await;
            began.abort();
            assert!(began.await.unwrap_err().is_cancelled());
            assert_eq!(set.get(None).await.map(drop), Ok(()));
            assert_eq!(asked.get(), 1);
        });
    }

    #[test]
    fn a_set_that_could_not_be_had_is_not_asked_for_at_once_again() {
        run(async {
            let (url, asked) = endpoint("{}".to_owned()).await;
            let set = KeySets::default().of(&url);
            for _ in 0..3 {
                assert_eq!(set.get(None).await.map(drop), Err(AuthenticationError::JwksInvalid));
            }
            assert_eq!(asked.get(), 1);
        });
    }
}
