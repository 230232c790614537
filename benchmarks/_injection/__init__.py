"""AgentDojo's suites behind a real gate: no model, and an attacker who has taken the agent over entirely."""
