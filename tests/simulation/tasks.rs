//! Tasks in virtual time: the drivers of the simulation read like those of the shards.
//!
//! Which of the woken tasks goes on is up to the seed, and time moves only when none can, so a
//! world of hours takes milliseconds and every interleaving has its seed.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    sync::{Arc, Mutex},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use ringpost_core::time::{Date, Time};

use crate::random::Random;

/// Everything that runs in one world, and its clock. Clones are the same world.
#[derive(Clone)]
pub(crate) struct Tasks(Rc<Inner>);

/// Who a task belongs to: a crash ends the gateway's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Owner {
    Gateway,
    World,
}

struct Inner {
    now: Cell<Time>,
    random: RefCell<Random>,
    tasks: RefCell<BTreeMap<u64, Task>>,
    woken: Arc<Mutex<Vec<u64>>>,
    timers: RefCell<BTreeMap<(Time, u64), Waker>>,
    next: Cell<u64>,
    steps: Cell<u64>,
}

struct Task {
    owner: Owner,
    future: Pin<Box<dyn Future<Output = ()>>>,
    waker: Waker,
}

struct Bell {
    task: u64,
    woken: Arc<Mutex<Vec<u64>>>,
}

/// Waits until a moment; forgotten when it is dropped.
struct Sleep {
    tasks: Tasks,
    until: Time,
    timer: Option<u64>,
}

impl Tasks {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Rc::new(Inner {
            now: Cell::new(Time::ZERO),
            random: RefCell::new(Random::new(seed)),
            tasks: RefCell::default(),
            woken: Arc::default(),
            timers: RefCell::default(),
            next: Cell::new(0),
            steps: Cell::new(0),
        }))
    }

    pub(crate) fn now(&self) -> Time {
        self.0.now.get()
    }

    pub(crate) fn date(&self) -> Date {
        let millis = i64::try_from(self.now().nanos() / 1_000_000).expect("a world is short");
        Date::from_millis(START_MILLIS + millis)
    }

    /// How often a task went on: the moments at which a crash can happen.
    pub(crate) fn steps(&self) -> u64 {
        self.0.steps.get()
    }

    pub(crate) fn draw(&self) -> u64 {
        self.0.random.borrow_mut().draw()
    }

    pub(crate) fn below(&self, limit: usize) -> usize {
        self.0.random.borrow_mut().below(limit)
    }

    pub(crate) fn chance(&self, times: usize, of: usize) -> bool {
        self.0.random.borrow_mut().chance(times, of)
    }

    pub(crate) fn with_random<T>(&self, draw: impl FnOnce(&mut Random) -> T) -> T {
        draw(&mut self.0.random.borrow_mut())
    }

    /// A time that is mostly short, up to `most`.
    pub(crate) fn delay(&self, most: Duration) -> Duration {
        let part = [1, 10, 100, 1_000][self.below(4)];
        most * u32::try_from(self.below(part + 1)).expect("small") / 1_000
    }

    pub(crate) fn spawn(&self, owner: Owner, future: impl Future<Output = ()> + 'static) {
        let task = self.number();
        let woken = Arc::clone(&self.0.woken);
        let waker = Waker::from(Arc::new(Bell { task, woken }));
        waker.wake_by_ref();
        let future = Box::pin(future);
        self.0.tasks.borrow_mut().insert(task, Task { owner, future, waker });
    }

    /// Ends all tasks of `owner` where they stand.
    pub(crate) fn end(&self, owner: Owner) {
        let (ended, rest) = std::mem::take(&mut *self.0.tasks.borrow_mut())
            .into_iter()
            .partition(|(_, task)| task.owner == owner);
        self.0.tasks.replace(rest);
        // Dropped last: what a task holds may wake others.
        drop::<BTreeMap<_, _>>(ended);
    }

    pub(crate) fn count(&self, owner: Owner) -> usize {
        let tasks = self.0.tasks.borrow();
        tasks.values().filter(|task| task.owner == owner).count()
    }

    /// One task goes on, or time does; false if neither can.
    pub(crate) fn step(&self) -> bool {
        let chosen = {
            let mut woken = self.0.woken.lock().expect("no task panicked");
            if woken.is_empty() {
                None
            } else {
                let index = self.below(woken.len());
                Some(woken.swap_remove(index))
            }
        };
        match chosen {
            Some(task) => self.poll(task),
            None => return self.pass_time(),
        }
        true
    }

    pub(crate) async fn sleep(&self, wait: Duration) {
        self.sleep_until(self.now() + wait).await;
    }

    pub(crate) fn sleep_until(&self, until: Time) -> impl Future<Output = ()> + use<> {
        Sleep { tasks: self.clone(), until, timer: None }
    }

    /// Does `work` until `deadline`; none if time ran out first.
    pub(crate) async fn within<T>(
        &self,
        deadline: Time,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let mut work = pin!(work);
        let mut sleep = pin!(self.sleep_until(deadline));
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => sleep.as_mut().poll(cx).map(|()| None),
        })
        .await
    }

    fn poll(&self, number: u64) {
        let Some(mut task) = self.0.tasks.borrow_mut().remove(&number) else {
            return;
        };
        self.0.steps.set(self.0.steps.get() + 1);
        let waker = task.waker.clone();
        if task.future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            self.0.tasks.borrow_mut().insert(number, task);
        }
    }

    fn pass_time(&self) -> bool {
        let Some(((time, _), waker)) = self.0.timers.borrow_mut().pop_first() else {
            return false;
        };
        assert!(time < Time::NEVER, "nothing waits for ever");
        self.0.now.set(time.max(self.now()));
        waker.wake();
        true
    }

    fn number(&self) -> u64 {
        self.0.next.set(self.0.next.get() + 1);
        self.0.next.get()
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.until <= self.tasks.now() {
            return Poll::Ready(());
        }
        let timer = self.timer.unwrap_or_else(|| self.tasks.number());
        self.timer = Some(timer);
        let mut timers = self.tasks.0.timers.borrow_mut();
        timers.entry((self.until, timer)).or_insert_with(|| cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            self.tasks.0.timers.borrow_mut().remove(&(self.until, timer));
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut woken = self.woken.lock().expect("no task panicked");
        if !woken.contains(&self.task) {
            woken.push(self.task);
        }
    }
}

/// When the world begins, as a date.
const START_MILLIS: i64 = 1_790_000_000_000;
