"""What labelers say they know: part 4 of the paper's screening (InstructGPT, appendix B.1).

The paper asked for which topics or groups of people somebody would notice sensitive speech, and
chose a team that covers many. Answers are choices of these lists; None is not asked yet.
"""

import uuid
from collections.abc import Sequence

from sqlalchemy.orm import Session

from preceptor.errors import StoreError
from preceptor.store.accounts import account_of

SUBJECTS = (
    "everyday_life",
    "business",
    "law",
    "medicine",
    "finance",
    "mathematics",
    "programming",
    "science",
    "history",
    "literature",
    "writing",
)
SPEECH = (
    "speech_gender",
    "speech_sexuality",
    "speech_ethnicity",
    "speech_nationality",
    "speech_religion",
    "speech_politics",
    "speech_disability",
    "speech_age",
    "speech_self_harm",
    "speech_violence",
)
TOPICS = (*SUBJECTS, *SPEECH)
LANGUAGES = (
    *("ar", "bn", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fr", "he", "hi", "hu", "id"),
    *("it", "ja", "ko", "ms", "nb", "nl", "pl", "pt", "ro", "ru", "sv", "sw", "ta", "th", "tl"),
    *("tr", "uk", "ur", "vi", "zh"),
)
"""ISO 639-1."""


def set_competence(
    session: Session, account_id: uuid.UUID, topics: Sequence[str], languages: Sequence[str]
) -> None:
    """A labeler's own word; an empty list is an answer, too.

    Raises:
        StoreError: one of them is on no list.
    """
    for found, known in ((topics, TOPICS), (languages, LANGUAGES)):
        if strange := sorted(set(found) - set(known)):
            raise StoreError(f"{strange[0]}: not on the list. There are {', '.join(known)}.")
    account = account_of(session, account_id)
    account.topics = [name for name in TOPICS if name in topics]
    account.languages = [name for name in LANGUAGES if name in languages]
