"""Authorize: Cedar policies, obligations, facts, approvals, budgets, stops."""
