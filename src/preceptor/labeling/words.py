"""Every word that a page says, in one place, so that they can be read over and translated.

Templates use them as `words.NAME`; what scripts say stands in `FOR_SCRIPTS`. The lead's pages are
tables and figures: their words stand in their templates.
"""

import json

APP = "Preceptor"
SKIP_TO_CONTENT = "Skip to content"
NAV = "Pages"
NAV_WORK = "Work"
NAV_RECENT = "Recent tasks"
NAV_PROFILE = "Profile"
NAV_LEAD = "Lead"
SIGN_OUT = "Sign out"

# Signing in
SIGN_IN = "Sign in"
LOGIN = "Login"
PASSWORD = "Password"
OLD_PASSWORD = "Current password"
NEW_PASSWORD = "New password"
PASSWORD_HINT = (
    "At least 12 characters. Four words that have nothing to do with each other are good."
)
SIGN_IN_WRONG = "Login or password is wrong. Try again, or ask your lead for a new link."
SIGN_IN_WAIT = "Too many attempts. Try again in {minutes} min."

# An invitation
INVITATION = "Welcome"
INVITATION_TEXT = "You are invited as"
INVITATION_TEXT_2 = "Choose a password; then you can begin."
INVITATION_BUTTON = "Accept the invitation"

# Profile
PROFILE = "Profile"
PROFILE_WHO = "You are signed in as"
PROFILE_PSEUDONYM = "Your labels bear the name {pseudonym}, not yours."
STATES = {
    "screening": "Your account is in screening: you get the tasks of the screening projects.",
    "active": "Your account is active.",
    "paused": "Your account is paused: you get no new tasks. What you did is kept.",
}
SENSITIVE_TITLE = "Tasks that may disturb"
SENSITIVE_TEXT = (
    "Some prompts and responses are about violence, sex, self-harm or hatred. They are blurred "
    "until you ask to see them, and given only to those who say yes here. You can change this at "
    "any time, and skip any task."
)
SENSITIVE_ACCEPT = "I accept such tasks"
COMPETENCE_TITLE = "What you know"
COMPETENCE_TEXT = (
    "Your lead sees this beside your score card, to choose a team that knows many things. Tick "
    "what you would judge with confidence; none is an answer, too."
)
COMPETENCE_OPEN = "You have not said yet."
COMPETENCE_SUBJECTS = "Subjects"
COMPETENCE_SPEECH = "Speech that hurts: you would notice it about"
COMPETENCE_LANGUAGES = "Languages that you read and write well"
NOTHING_TICKED = "Nothing ticked"
COMPETENCE_SAVED = "Saved. Your lead sees it."
TOPICS = {
    "everyday_life": "Everyday life",
    "business": "Business",
    "law": "Law",
    "medicine": "Medicine",
    "finance": "Money and taxes",
    "mathematics": "Mathematics",
    "programming": "Programming",
    "science": "Natural science",
    "history": "History",
    "literature": "Literature",
    "writing": "Writing and editing",
    "speech_gender": "women and men",
    "speech_sexuality": "sexual orientation",
    "speech_ethnicity": "ethnicity",
    "speech_nationality": "nationality, migration",
    "speech_religion": "religion",
    "speech_politics": "politics",
    "speech_disability": "disability, illness",
    "speech_age": "age",
    "speech_self_harm": "self-harm",
    "speech_violence": "violence, terrorism",
}
LANGUAGES = {
    "ar": "Arabic",
    "bn": "Bengali",
    "cs": "Czech",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fa": "Persian",
    "fi": "Finnish",
    "fr": "French",
    "he": "Hebrew",
    "hi": "Hindi",
    "hu": "Hungarian",
    "id": "Indonesian",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "ms": "Malay",
    "nb": "Norwegian",
    "nl": "Dutch",
    "pl": "Polish",
    "pt": "Portuguese",
    "ro": "Romanian",
    "ru": "Russian",
    "sv": "Swedish",
    "sw": "Swahili",
    "ta": "Tamil",
    "th": "Thai",
    "tl": "Tagalog",
    "tr": "Turkish",
    "uk": "Ukrainian",
    "ur": "Urdu",
    "vi": "Vietnamese",
    "zh": "Chinese",
}
SAVE = "Save"
SAVED = "Saved."
PASSWORD_TITLE = "Password"
PASSWORD_CHANGE = "Change the password"
PASSWORD_CHANGED = "The password is changed. Other browsers of yours are signed out."
PASSWORD_WRONG = "The current password is not right."
KEYS_OFF_TITLE = "Keys"
KEYS_OFF_TEXT = "Single keys rate, rank and move. With this off, only Ctrl+Enter does something."
KEYS_ON = "Use single keys in this browser"

# The inbox
WORK = "Work"
TASK_TYPES = {
    "demonstration": "Write responses",
    "ranking": "Rate and rank responses",
    "evaluation": "Evaluate responses",
    "evaluation_ab": "Compare two responses",
    "toxicity": "Rate how toxic responses are",
    "prompt_plain": "Write prompts",
    "prompt_few_shot": "Write prompts with examples",
    "prompt_user_based": "Write prompts for a purpose",
}
TASK_TEXTS = {
    "demonstration": "You get a prompt and write the best answer you can.",
    "ranking": "You get a prompt and several responses, rate each, then put all in order.",
    "evaluation": "The same as ranking, by the guideline for final evaluations.",
    "evaluation_ab": "You get a prompt and two responses, and say which is better.",
    "toxicity": "You get the beginning of a text, which may be hard to read, and ways to go on.",
    "prompt_plain": "You think of any task for an assistant, and write it down.",
    "prompt_few_shot": "You write an instruction, and a few queries with the right response.",
    "prompt_user_based": "You get a purpose in general words, and write a prompt that serves it.",
}
SCREENING = "screening"
PRACTICE = "practice"
PRACTICE_TEXT = "This is practice: after each task you see the researchers' answer beside yours."
PRACTICE_ANSWER_TEXT = (
    "Labelers practise here: your answer can be the one that they see beside theirs."
)
DONE_COUNT = "{count:,} done by you"
START = "Begin"
NEXT_TASK = "Next task"
CONTINUE = "Continue"
READ_FIRST = "Read the guideline first"
NOTHING_HERE = "There is no project for you at the moment. Your lead opens them."
NOTHING_NOW = "Nothing to do now in"
NOTHING_LEFT = "No task is left for you at the moment. Thank you; look in again later."
YOUR_PROJECTS = "Your projects"
NOTHING_TO_DO = "No task is left for you there at the moment. Thank you; look in again later."
RECENT = "Recent tasks"
ALL_RECENT = "All recent tasks"
OLDER = "Older ones"
NOTHING_RECENT = "You have had no task yet."
PROMPT = "Prompt"
ERASED = "This text was erased."
TASK_STATES = {
    "leased": "in your hands",
    "submitted": "submitted",
    "skipped": "skipped",
    "expired": "lease ran out",
    "released": "given back",
}
HAS_DRAFT = "with a draft"
SURPLUS = "kept as an extra"
KINDS = {
    "demonstration": "writing",
    "ranking": "ranking",
    "evaluation": "evaluation",
    "evaluation_ab": "comparison",
    "toxicity": "toxicity",
    "prompt_plain": "a prompt",
    "prompt_few_shot": "a prompt with examples",
    "prompt_user_based": "a prompt for a purpose",
}
NOTHING_WRITTEN = "Nothing written yet"
MAY_DISTURB = "A text that may disturb"

# A task
WRITE_TITLE = "Write a response"
RATE_TITLE = "Rate response {position} of {count}"
RANK_TITLE = "Rank all {count}"
COMPARE_TITLE = "Which response is better?"
CHOICE = "Your choice"
CHOICES = {
    "1": "Response 1 is better",
    "2": "Response 2 is better",
    "tie": "Tie",
    "both_bad": "Both bad",
}
CHOICE_KEYS = "12=0"
CONFIDENCE = "How sure are you?"
CONFIDENCE_LOW = "a guess"
CONFIDENCE_HIGH = "certain"
CONFIDENCE_ENDS = "From 1, a guess, to 9, certain."
SURE = "sure: {confidence} of 9"
RATE_TOO = "Rate the two"
RESPONSE = "Response"
RESPONSE_N = "Response {position}"
WRITE_HINT = "Write what the person would be glad to get: helpful, true, harmless."
ASKED = "What to write"
PURPOSE = "What somebody wants to do"
WRITE_PROMPT = "Write a prompt"
WRITE_FEW_SHOT = "Write a prompt with examples"
PROMPT_TASKS = {
    "prompt_plain": "Think of a task that you would give to an assistant, and write it as you "
    "would say it. Anything goes; the more they differ from each other, the better.",
    "prompt_few_shot": "Write an instruction, then queries with the response that each should "
    "get. Each pair becomes an example of its own, with the others before it.",
    "prompt_user_based": "Write a prompt that somebody with this purpose might send, with what "
    "such a person would have at hand. Make names and facts up.",
}
PROMPT_HINT = "One prompt, whole: with the text it is about, if it is about one."
WANTED = "More wanted now"
INSTRUCTION = "Instruction"
INSTRUCTION_HINT = "What is to be done with each query."
PAIR_N = "Pair {number}"
QUERY = "Query"
ADD_PAIR = "Add a pair"
PAIRS_HINT = "Two pairs at least, eight at most. An empty one is left out."
ROLES = {"system": "System", "user": "User", "assistant": "Assistant"}
GUIDELINE = "Guideline"
STEPS = "Steps of this task"
RATED = "rated"
NOT_RATED = "not rated yet"
STEP_RANK = "Rank"
YOU_RATED = "you rated it {likert} of 7"
YOU_RATED_TOXICITY = "you rated its toxicity: {toxicity}, its continuity: {continuity} of 7"
CHANGE_RATING = "change"
RANK_HINT = "Equally good? Give them the same rank. Ties are welcome."
RANK_OF = "Rank of response {position}"
RANK_BEST = "best"
RANK_WORST = "worst"
UNACCEPTABLE = "Unacceptable"
YOUR_ORDER = "Your order"
QUESTIONS = {
    "input_toxicity": "Toxicity of the prompt",
    "toxicity": "Toxicity of this response",
    "relative_toxicity": "Beside the prompt, this response is",
    "continuity": "Continuity",
}
TOXICITY = {0: "None", 1: "Some", 2: "Much"}
TOXICITY_KEYS = "012"
TOXICITY_SHORT = "Toxicity"
RELATIVE = {-1: "less toxic", 0: "as toxic", 1: "more toxic"}
RELATIVE_KEYS = "-=+"
RELATIVE_SHORT = "Beside the prompt"
CONTINUITY = {value: value for value in range(1, 8)}
CONTINUITY_KEYS = "1234567"
CONTINUITY_LOW = "makes no sense there"
CONTINUITY_HIGH = "goes on as one text"
TOXICITY_RULE = (
    "First what goes on in a respectful, plausible, non-toxic manner; if all are plausible, "
    "toxicity decides. Equally good ones get the same rank."
)
KEY_TOXICITY = "Toxicity, of the prompt and then of the response"
KEY_RELATIVE = "Less toxic than the prompt, as toxic, more toxic"
SHOW_ALL = "Show all"
SHOW_LESS = "Show less"
ABOUT_PROMPT = "About the prompt"
ABOUT_PROMPT_HINT = "Say what you can tell; what you leave open counts as not said."
USE_CASE = "Kind of task"
USE_CASES = {
    "generation": "Generation",
    "open_qa": "Open question",
    "brainstorming": "Brainstorming",
    "chat": "Chat",
    "rewriting": "Rewriting",
    "summarization": "Summarization",
    "classification": "Classification",
    "other": "Other",
    "closed_qa": "Question about a given text",
    "extraction": "Extraction",
}
OPEN = "not said"
YES = "yes"
NO = "no"
YES_PILL = "Yes"
NO_PILL = "No"
COMMENT = "Comment for the lead"
COMMENT_HINT = "Optional."
SUBMIT = "Submit, next task"
SUBMIT_PRACTICE = "Submit, see the answer"
SUBMIT_STOP = "Submit and stop"
NEXT = "Next"
BACK = "Back"
TO_RANKING = "On to the ranking"
SAVE_DRAFT = "Save draft"
SKIP = "Skip"
KEYS = "Keys"
CLOSE = "Close"
FLAG_KEYS = "abcdefghilmnpqrtuvwxyz"  # of the flags in their order; j, k, o and s are taken
KEY_FLAG = "Set or clear a flag"
KEY_FIELDS = "Next field, field before"
KEY_CARDS = "Next response, response before"
KEY_RANK = "Rank of the response"
KEY_MOVE = "One rank better, one worse"
KEY_TIE = "Same rank as the one above it in your order"
KEY_OPEN = "Open or close a long text"
KEY_SUBMIT = "Submit"
KEY_HELP = "This list"
REVISING = "You are revising this task. What you submitted counts until you send this."
DISCARD = "Leave it as it was"
RATE_ALL_FIRST = "Rate each response first; then the ranking opens."
RATE_THIS_FIRST = "Choose a quality, 1 to 7, first. All you entered is kept."
ANSWER_ALL_FIRST = "Answer each question of this page. All you entered is kept."
KEPT_OTHER = "Other answers of yours to this task are kept."
KEPT_LOOK = "Look at them"
SENSITIVE_NOTE = "This task may disturb: the texts are blurred. You can skip it at no cost."
SENSITIVE_SHOW = "Show the texts"
STILL_BLURRED = (
    "The texts were blurred when you sent this, so it is kept as a draft. Show them and look "
    "again, or press the same button once more to send it as it is."
)
SAVED_AT = "Submitted"
SURPLUS_NOTE = "Others had finished this task meanwhile, so it is kept as an extra."
UNDO = "Undo"
REVISE = "Revise"

# Finished
FINISHED = "This task"
FINISHED_SUBMITTED = "Submitted. Thank you."
FINISHED_SKIPPED = "You skipped this task. Somebody else gets it."

# Practice
FEEDBACK = "The researchers' answer beside yours"
FEEDBACK_ANSWER = "The researchers' answer"
FEEDBACK_OWN = "Your answer"
FEEDBACK_TASK = "The task"
FEEDBACK_HERE = "In this task"
FEEDBACK_SO_FAR = "So far ({tasks:,} done)"
ALIKE = "{agreed:,} of {judged:,} pairs ordered alike"
ALIKE_NONE = "no pair that both of you order"

# Two sets of answers
BOTH_TITLE = "Two sets of answers"
BOTH_TEXT = (
    "Another tab or device of yours saved other answers to this task. Both are kept until you "
    "choose."
)
BOTH_MINE = "On this page"
BOTH_STORED = "Saved elsewhere"
BOTH_TAKE_MINE = "Use those of this page"
BOTH_TAKE_STORED = "Use those saved elsewhere"
KEPT_TITLE = "Answers that are kept"
KEPT_TEXT = "They were saved or sent from another page of yours. Use them, or let them go."
KEPT_NOW = "The present ones"
KEPT_N = "Kept ones, {version}"
KEPT_TAKE = "Use these instead"
KEPT_DISCARD = "Let these go"
KEPT_NONE = "There are no other ones."
NO_RESPONSE = "nothing written"
RANK = "Rank"
NO_RANK = "no rank"
NO_CHOICE = "nothing chosen"

# Skipping
SKIP_TITLE = "Skip this task"
SKIP_TEXT = "Skipping costs you nothing. Somebody else gets the task, and it does not come back."
SKIP_REASON = "Why?"
SKIP_REASONS = {
    "unclear_task": "The task is unclear",
    "personal_data": "It holds somebody's personal data",
    "unsafe_for_me": "It is not good for me",
    "needs_expertise": "It needs knowledge that I do not have",
    "wrong_language": "It is in a language that I do not read well",
    "broken": "Something is broken",
    "other": "Something else (say what)",
}
SKIP_COMMENT = "In a few words"
SKIP_BUTTON = "Skip it"
SKIP_CHOOSE = "Choose a reason; it tells your lead what to mend."
SKIP_BACK = "Back to the task"
GIVE_BACK_TEXT = "Only stopping for today? Give it back; you or somebody else gets it later."
GIVE_BACK = "Give it back"

# A guideline
GUIDELINE_TITLE = "Guideline"
GUIDELINE_NEW = "Please read this before the next task. Your labels note the version you read."
GUIDELINE_CONFIRM = "I have read it"
GUIDELINE_CONFIRMED = "You have confirmed this version."

# Errors
ERROR_TITLES = {
    400: "That did not work",
    401: "Signed out",
    403: "Not allowed",
    404: "Nothing here",
    405: "That did not work",
    409: "That did not work",
    410: "No longer valid",
    413: "Too much at once",
    429: "Too many at once",
    500: "A mistake of ours",
    503: "Busy",
}
ERROR_400_FORM = "This form is not complete. Go back, reload the page and send it again."
ERROR_400_TIME = "before: a time with its zone, as in 2026-03-01T09:00:00+00:00."
ERROR_403_SITE = "This form came from another site. Open the page here and send it again."
ERROR_404 = "There is no such page, or it is not yours."
ERROR_405 = "Forms are sent to this address; there is nothing to see. Go back to your work."
ERROR_413 = (
    "That is more than {most:,} bytes. None of it was stored: go back and send less at once."
)
ERROR_500 = "Something is broken here. What you saved is safe. Try again, or tell the lead."
SENT_MEANWHILE = "This task was submitted meanwhile. Open it again to revise it."
TYPED = {
    "response": "Your response",
    "prompt": "Your prompt",
    "instruction": "Your instruction",
    **{
        f"{field}_{number}": f"{name} {number}"
        for number in range(1, 9)
        for field, name in (("query", "Query"), ("response", "Response"))
    },
    "comment": "Your comment",
}
TYPED_TEXT = "Nothing of this was stored. Here is what you wrote, to be copied:"
BACK_TO_WORK = "Back to work"

FOR_SCRIPTS = json.dumps(
    {
        "dirty": "Not saved yet",
        "saved": "Saved {time}",
        "offline": "No connection. Kept in this browser; trying again",
        "refused": "Not saved: {message}",
        "signedOut": "Signed out. Your answers are kept in this browser: sign in again in another "
        "tab, and they are saved.",
        "conflict": "Another tab or device of yours saved other answers.",
        "compare": "Compare and choose",
        "restored": "Answers that could not be saved were kept in this browser, and are back.",
        "foundOld": "This browser keeps answers to this page that could not be saved.",
        "useThem": "Use them",
        "letGo": "Let them go",
        "response": "Response {position}",
        "rank": "rank {rank}",
        "unacceptable": "unacceptable",
        "notRanked": "not ranked yet",
        "tied": "tied with response {others}",
        "tiedMany": "tied with responses {others}",
        "and": "and",
        "said": "{response}: {place}",
        "chosen": "Chosen: {choice}",
        "rated": "Quality {likert}",
        "flagOn": "{flag}: yes",
        "flagOff": "{flag}: no",
        "best": "best",
    }
)
