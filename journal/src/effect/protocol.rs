//! What the effect protocol asks of an effect: who receives it, what a crash does to it, what it is called.

use super::{Effect, Side};

/// Who receives an effect: who is probed, who acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// One database: schema, gate, fence, slots, markers, sequences.
    Database(Side),
    /// The data plane, which works on both: copy, streams, verification.
    Mover,
    /// What stops, holds, routes and resumes application traffic.
    Lever,
}

/// Why a crash between an effect and its outcome is harmless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EffectClass {
    /// Nothing is changed.
    Observation,
    /// The receipt is in the effect's own transaction.
    Transactional,
    /// Created or adopted by its name.
    Named,
    /// An absolute setting, observed afterwards.
    Setting,
    /// It cannot be undone.
    Irreversible,
}

impl Effect {
    /// Who receives it.
    #[must_use]
    pub const fn party(&self) -> Party {
        match self {
            Self::InstallHome { side, .. }
            | Self::CreatePublication { side, .. }
            | Self::CreateOrigin { side, .. }
            | Self::InstallFence { side, .. }
            | Self::TrialWrite { side, .. }
            | Self::EmitMarker { side, .. }
            | Self::AwaitQuiet { side, .. }
            | Self::CompareColumns { side, .. }
            | Self::CloseGate { side }
            | Self::CloseLost { side, .. }
            | Self::AwaitWriters { side, .. }
            | Self::OpenGate { side }
            | Self::AdvanceSequences { side, .. }
            | Self::DropSlot { side, .. }
            | Self::DropPublication { side, .. }
            | Self::DropOrigin { side, .. }
            | Self::RemoveFence { side, .. } => Party::Database(*side),
            Self::CreateTables { .. } | Self::AddSchemaObject { .. } | Self::DropTables { .. } => {
                Party::Database(Side::Target)
            }
            Self::Preflight { .. }
            | Self::ProbeAnew { .. }
            | Self::CreateSlot { .. }
            | Self::CopyTable { .. }
            | Self::StartStream { .. }
            | Self::SetStreamMode { .. }
            | Self::AwaitApplied { .. }
            | Self::AwaitLag { .. }
            | Self::VerifyTable { .. }
            | Self::VerifyChanged { .. }
            | Self::SweepChanged { .. }
            | Self::AwaitMarker { .. }
            | Self::DrainAvailable { .. }
            | Self::DropStream { .. } => Party::Mover,
            Self::ObserveTraffic { .. }
            | Self::HoldTraffic { .. }
            | Self::RouteTraffic { .. }
            | Self::ResumeTraffic { .. } => Party::Lever,
        }
    }

    /// Its class in the effect protocol.
    #[must_use]
    pub const fn class(&self) -> EffectClass {
        match self {
            Self::Preflight { .. }
            | Self::ProbeAnew { .. }
            | Self::TrialWrite { .. }
            | Self::AwaitApplied { .. }
            | Self::AwaitLag { .. }
            | Self::AwaitMarker { .. }
            | Self::AwaitQuiet { .. }
            | Self::CompareColumns { .. }
            | Self::AwaitWriters { .. }
            | Self::DrainAvailable { .. }
            | Self::ObserveTraffic { .. } => EffectClass::Observation,
            Self::InstallHome { .. }
            | Self::CreatePublication { .. }
            | Self::CreateTables { .. }
            | Self::InstallFence { .. }
            | Self::CopyTable { .. }
            | Self::StartStream { .. }
            | Self::SetStreamMode { .. }
            | Self::VerifyTable { .. }
            | Self::VerifyChanged { .. }
            | Self::SweepChanged { .. }
            | Self::AddSchemaObject { .. }
            | Self::EmitMarker { .. }
            | Self::CloseGate { .. }
            | Self::CloseLost { .. }
            | Self::OpenGate { .. }
            | Self::RemoveFence { .. }
            | Self::DropPublication { .. }
            | Self::DropStream { .. }
            | Self::AdvanceSequences { .. } => EffectClass::Transactional,
            Self::CreateOrigin { .. } | Self::CreateSlot { .. } => EffectClass::Named,
            Self::HoldTraffic { .. } | Self::RouteTraffic { .. } | Self::ResumeTraffic { .. } => {
                EffectClass::Setting
            }
            Self::DropSlot { .. } | Self::DropOrigin { .. } | Self::DropTables { .. } => {
                EffectClass::Irreversible
            }
        }
    }

    /// A short name for people and for failpoints: unique within a step, without commas or spaces.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::Preflight { .. } => "preflight".to_owned(),
            Self::ProbeAnew { side, .. } => format!("probe_anew:{side}"),
            Self::InstallHome { side, .. } => format!("install_home:{side}"),
            Self::CreatePublication { side, .. } => format!("create_publication:{side}"),
            Self::CreateOrigin { side, .. } => format!("create_origin:{side}"),
            Self::CreateTables { .. } => "create_tables".to_owned(),
            Self::InstallFence { side, .. } => format!("install_fence:{side}"),
            Self::TrialWrite { side, moment, .. } => format!("trial_write:{side}:{moment}"),
            Self::CreateSlot { side, .. } => format!("create_slot:{side}"),
            Self::CopyTable { table, .. } => format!("copy_table:{table}"),
            Self::StartStream { stream, .. } => format!("start_stream:{}", stream.direction),
            Self::SetStreamMode { stream, mode } => {
                format!("set_stream_mode:{}:{}", stream.direction, mode.word())
            }
            Self::AwaitApplied { stream, .. } => format!("await_applied:{}", stream.direction),
            Self::AwaitLag { stream, .. } => format!("await_lag:{}", stream.direction),
            Self::VerifyTable { table, .. } => format!("verify_table:{table}"),
            Self::VerifyChanged { .. } => "verify_changed".to_owned(),
            Self::SweepChanged { .. } => "sweep_changed".to_owned(),
            Self::AddSchemaObject { object } => format!("add_schema_object:{}:{}", object.table, object.name),
            Self::EmitMarker { side, .. } => format!("emit_marker:{side}"),
            Self::AwaitMarker { stream, .. } => format!("await_marker:{}", stream.direction),
            Self::AwaitQuiet { side, .. } => format!("await_quiet:{side}"),
            Self::CompareColumns { side, .. } => format!("compare_columns:{side}"),
            Self::ObserveTraffic { .. } => "observe_traffic".to_owned(),
            Self::HoldTraffic { .. } => "hold_traffic".to_owned(),
            Self::RouteTraffic { to } => format!("route_traffic:{to}"),
            Self::ResumeTraffic { to } => format!("resume_traffic:{to}"),
            Self::CloseGate { side } => format!("close_gate:{side}"),
            Self::CloseLost { side, moment, .. } => format!("close_lost:{side}:{moment}"),
            Self::DrainAvailable { stream, .. } => format!("drain_available:{}", stream.direction),
            Self::AwaitWriters { side, .. } => format!("await_writers:{side}"),
            Self::OpenGate { side } => format!("open_gate:{side}"),
            Self::AdvanceSequences { side, .. } => format!("advance_sequences:{side}"),
            Self::DropStream { stream } => format!("drop_stream:{}", stream.direction),
            Self::DropSlot { side, .. } => format!("drop_slot:{side}"),
            Self::DropPublication { side, .. } => format!("drop_publication:{side}"),
            Self::DropOrigin { side, .. } => format!("drop_origin:{side}"),
            Self::RemoveFence { side, .. } => format!("remove_fence:{side}"),
            Self::DropTables { .. } => "drop_tables".to_owned(),
        }
    }
}
