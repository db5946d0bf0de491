"""Answers to questions that ask the same in other words, served while they are proven right."""
