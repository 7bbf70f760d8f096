//! How it is made to happen: the replay loop, steps, engines, levers.

mod engine;
mod executor;
mod hands;
pub mod kept;
pub mod levers;
pub mod native;
mod phase;
pub mod postgres;
mod protocol;
mod seams;
mod steps;
mod tenure;

pub use executor::{Settings, run};
pub use seams::{
    Acted, Authority, Cause, Difference, EffectError, Engine, Examined, Lever, Observed, Owner, Probe,
    Receiver, TrafficState,
};
