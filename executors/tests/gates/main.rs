//! Gates, fences, objects and levers against real servers.

mod fence;
mod fixture;
mod gate;
mod levers;
mod objects;
mod sequences;
mod writers;
