"""The experiments of arXiv 2101.00196 on any trained models, methods and data sets.

Each study has a module with a function from subjects, settings, a store and options to findings.
"""

from bertx.studies.conducting import Study, conduct
from bertx.studies.findings import Finding, Findings, Picture, Table
from bertx.studies.scores import UnitScores, explained
from bertx.studies.settings import Settings, authors
from bertx.studies.store import Parts, Store
from bertx.studies.subjects import (
    Source,
    Subject,
    check_alike,
    check_several,
    read_subject,
)

__all__ = [
    "Finding",
    "Findings",
    "Parts",
    "Picture",
    "Settings",
    "Source",
    "Store",
    "Study",
    "Subject",
    "Table",
    "UnitScores",
    "authors",
    "check_alike",
    "check_several",
    "conduct",
    "explained",
    "read_subject",
]
