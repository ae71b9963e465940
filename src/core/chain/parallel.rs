//! The verifier on several cores: threads check batches by themselves, and the caller's thread joins them in order.
//!
//! A batch begins with the `prev_hash` stored in its first record. That is believed only after the verifier has found
//! it equal to the hash at the end of the batch before, so by induction a chain whose batches all join is whole. What
//! does not join, or is not whole by itself, goes through [`Verifier::push`] record by record: the verdict is always the
//! one that a single thread would have given.
//!
//! The threads run nothing but hashing on memory of their own, take no signals, and have ended when a `Parallel` is gone,
//! however that came about.

use super::{Batch, Ledger, Verdict, Verifier};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};

/// Batches under way for each thread: one that it checks, one that waits.
const AHEAD: usize = 2;

/// Verifies records as they are pushed, like [`Verifier`].
pub struct Parallel {
    verifier: Verifier,
    /// How many threads there may be; they are started with the first full batch.
    threads: usize,
    workers: Vec<Worker>,
    filling: Batch,
    spare: Vec<Batch>,
    /// Batches handed out and taken back, in the same order: number n goes to worker n modulo their count.
    sent: usize,
    taken: usize,
}

impl Parallel {
    /// `threads` besides the caller's; with none the caller's thread checks everything.
    pub fn new(verifier: Verifier, threads: usize) -> Parallel {
        Parallel {
            verifier,
            threads,
            workers: Vec::new(),
            filling: Batch::default(),
            spare: Vec::new(),
            sent: 0,
            taken: 0,
        }
    }

    /// Takes the next stored record, in ascending order of ids. `prev_hash` and `hash` are as stored.
    pub fn push(&mut self, id: i64, record: &[u8], prev_hash: &[u8], hash: &[u8]) {
        self.filling.push(id, record, prev_hash, hash);
        if self.filling.is_full() {
            self.start_workers();
            self.hand_out();
        }
    }

    /// Records whose verdict is known.
    pub fn checked(&self) -> i64 {
        self.verifier.checked()
    }

    /// The verifier, once everything pushed has got to it.
    pub fn into_verifier(mut self) -> Verifier {
        if !self.filling.is_empty() {
            self.hand_out();
        }
        while self.taken < self.sent {
            self.take_back();
        }
        self.verifier
    }

    /// The verdict on everything pushed.
    pub fn finish(self) -> Verdict {
        self.into_verifier().finish()
    }

    /// A machine that gives no more threads is no reason not to verify.
    fn start_workers(&mut self) {
        while self.workers.len() < self.threads && self.sent == 0 {
            match Worker::start(*self.verifier.ledger()) {
                Ok(worker) => self.workers.push(worker),
                Err(_) => self.threads = self.workers.len(),
            }
        }
    }

    fn hand_out(&mut self) {
        let next = self.spare.pop().unwrap_or_default();
        let batch = std::mem::replace(&mut self.filling, next);
        if self.workers.is_empty() {
            let whole = batch.is_whole(self.verifier.ledger());
            return self.join(batch, whole);
        }
        if self.sent - self.taken == self.workers.len() * AHEAD {
            self.take_back();
        }
        let worker = &self.workers[self.sent % self.workers.len()];
        worker.give(batch);
        self.sent += 1;
    }

    fn take_back(&mut self) {
        let (batch, whole) = self.workers[self.taken % self.workers.len()].take();
        self.taken += 1;
        self.join(batch, whole);
    }

    fn join(&mut self, mut batch: Batch, whole: bool) {
        self.verifier.push_batch(&batch, whole);
        batch.clear();
        self.spare.push(batch);
    }
}

/// One thread, which gives back each batch it got, in the same order.
struct Worker {
    /// None once the thread is to end.
    to: Option<SyncSender<Batch>>,
    from: Receiver<(Batch, bool)>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn start(ledger: Ledger) -> std::io::Result<Worker> {
        let (to, work) = sync_channel::<Batch>(AHEAD);
        let (done, from): (Sender<(Batch, bool)>, _) = channel();
        let thread = without_signals(|| {
            Builder::new().name("verify".into()).spawn(move || {
                for batch in work {
                    let whole = batch.is_whole(&ledger);
                    if done.send((batch, whole)).is_err() {
                        break;
                    }
                }
            })
        })?;
        Ok(Worker { to: Some(to), from, thread: Some(thread) })
    }

    fn give(&self, batch: Batch) {
        self.to.as_ref().and_then(|to| to.send(batch).ok()).expect("a verifying thread has ended");
    }

    fn take(&self) -> (Batch, bool) {
        self.from.recv().expect("a verifying thread has ended")
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.to = None;
        if let Some(thread) = self.thread.take() {
            // Its panic, if it had one, was already told by `give` or `take`.
            drop(thread.join());
        }
    }
}

/// Runs `body`, which starts a thread, with all signals blocked: a thread inherits that, so the process's signals are
/// only ever handled by the thread that they are meant for.
fn without_signals<T>(body: impl FnOnce() -> T) -> T {
    // Safe: plain sets on the stack; the mask is put back as it was.
    unsafe {
        let (mut all, mut before) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let value = body();
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        value
    }
}
