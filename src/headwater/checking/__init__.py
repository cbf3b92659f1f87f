"""Checks a project for errors before anything is started."""

from headwater.checking.problem import Problem
from headwater.checking.project import Project
from headwater.checking.questions import OPEN_TO_STRANGERS, QUESTIONS, Question, Report, check_project, check_settings
from headwater.finding import Severity

__all__ = [
    "OPEN_TO_STRANGERS",
    "QUESTIONS",
    "Problem",
    "Project",
    "Question",
    "Report",
    "Severity",
    "check_project",
    "check_settings",
]
