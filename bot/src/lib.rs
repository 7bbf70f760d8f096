//! How people drive a migration: the command language, the conversation, GitHub, Slack, Discord, the socket of the
//! terminal, the command line.

pub mod arrival;
pub mod board;
pub mod check;
pub mod cli;
pub mod config;
pub mod conversation;
pub mod discord;
pub mod doctor;
pub mod github;
pub mod groups;
pub mod inbound;
pub mod language;
pub mod local;
pub mod markup;
pub mod metrics;
pub mod outbound;
pub mod people;
pub mod preflight;
pub mod proof;
mod rounds;
pub mod service;
pub mod slack;
pub mod status;
mod websocket;
pub mod withdrawn;
pub mod words;
pub mod worker;
