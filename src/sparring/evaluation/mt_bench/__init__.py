"""MT-Bench: questions of two turns, graded by a language model behind an endpoint.

The questions, the prompts of the judge, the references and the answers are files in FastChat's formats; none of them is
part of this project.

Source: arXiv 2306.05685, and its released code, https://github.com/lm-sys/FastChat (fastchat/llm_judge).
"""

from sparring.evaluation.mt_bench.answers import TEMPERATURES, answer_questions, read_answers
from sparring.evaluation.mt_bench.files import MtQuestion, read_prompts, read_questions
from sparring.evaluation.mt_bench.grading import Grade, Grader, read_rating, read_winner
from sparring.evaluation.mt_bench.scores import Score, summarize

__all__ = [
    "TEMPERATURES",
    "Grade",
    "Grader",
    "MtQuestion",
    "Score",
    "answer_questions",
    "read_answers",
    "read_prompts",
    "read_questions",
    "read_rating",
    "read_winner",
    "summarize",
]
