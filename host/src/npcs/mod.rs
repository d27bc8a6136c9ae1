//! The AI service, behind `ports::npc_source`.
