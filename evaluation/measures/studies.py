"""The numbers of the studies, which each study describes itself."""

from evaluation.studies import STUDIES

MEASURES = [measure for study in STUDIES.values() for measure in study.measures]
