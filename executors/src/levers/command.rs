//! A lever of the team's own commands.
