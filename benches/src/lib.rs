//! Costs, measured as ratios within one run.
//!
//! Times differ from machine to machine and from minute to minute; ratios of things measured in turns do not. Every bench here
//! takes its subjects round robin and reports the median of many short batches.

pub mod process;

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Something to be measured: a name and one step of it.
pub struct Subject<'a> {
    /// What is printed and looked up.
    pub name: &'static str,
    step: Box<dyn FnMut() + 'a>,
}

impl<'a> Subject<'a> {
    /// A subject whose result is kept from being optimised away.
    pub fn new<T>(name: &'static str, mut step: impl FnMut() -> T + 'a) -> Self {
        Self {
            name,
            step: Box::new(move || {
                black_box(step());
            }),
        }
    }
}

/// How long to measure.
#[derive(Copy, Clone, Debug)]
pub struct Effort {
    /// Batches of each subject; the median is taken over them.
    pub batches: usize,
    /// Steps a batch.
    pub steps: u32,
}

impl Effort {
    /// As the command line says: one step where `--test` is given, as `cargo test --benches` does, else a real measurement.
    pub fn from_args(steps: u32) -> Self {
        if std::env::args().any(|arg| arg == "--test") {
            Self { batches: 1, steps: 1 }
        } else {
            Self { batches: 301, steps }
        }
    }

    /// Whether this only checks that the bench runs, so that its figures mean nothing.
    pub fn is_test(&self) -> bool {
        self.batches == 1
    }
}

/// Measures the subjects in turns and gives each one's median time for a step, in the order of the subjects.
pub fn measure(subjects: &mut [Subject<'_>], effort: Effort) -> Vec<Duration> {
    let mut samples: Vec<Vec<Duration>> =
        subjects.iter().map(|_| Vec::with_capacity(effort.batches)).collect();
    // One unmeasured round warms caches and branch predictors.
    for round in 0..=effort.batches {
        for (subject, samples) in subjects.iter_mut().zip(&mut samples) {
            let begin = Instant::now();
            for _ in 0..effort.steps {
                (subject.step)();
            }
            let spent = begin.elapsed();
            if round > 0 {
                samples.push(spent);
            }
        }
    }
    samples
        .into_iter()
        .map(|mut samples| {
            samples.sort_unstable();
            samples[samples.len() / 2] / effort.steps
        })
        .collect()
}
