"""The lab's tokenizer: byte-level BPE, one token a digit, letters of words to be spelled one by one, frequent prompt words one token each.

The cut into pieces decides what BPE may merge: words that recur in prompts, spaced operators and the box are pieces of their own and
merge to one token; every other character stands alone, so that digits and the letters of spelled words are seen one by one.
"""

import random
import re
from collections import Counter, defaultdict
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from paced_exp.data import prompts
from paced_exp.data.lab.families import FAMILIES
from paced_exp.data.lab.splits import SPLITS, draw, to_problem

PAD, USER, ASSISTANT, END = "<|pad|>", "<|user|>", "<|assistant|>", "<|end|>"
VOCABULARY = 640
SAMPLE = 4_000  # prompts read to find the frequent words; 400 a family shows every template many times
WORD_SHARE = 0.2  # a word is frequent when this share of one family's prompts holds it (simple_equations has three templates)

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] }}{% if message['role'] == 'assistant' %}<|end|>{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def _sample_texts(seed: int) -> dict[str, list[str]]:
    rng = random.Random(f"tokenizer/{seed}")
    texts: dict[str, list[str]] = defaultdict(list)
    for index in range(SAMPLE):
        name, level, entry = draw(SPLITS["pretrain"], rng)
        problem = to_problem(str(index), "pretrain", name, level, entry)
        texts[name] += [prompts.user_message(problem, "privileged"), prompts.user_message(problem, "concise")]
    return texts


def frequent_words(texts: dict[str, list[str]]) -> list[str]:
    """Words of two letters or more that `WORD_SHARE` of some family's prompts hold, in alphabetical order."""
    words: set[str] = set()
    for family_texts in texts.values():
        counts = Counter(word for text in family_texts for word in set(re.findall(r"(?<![A-Za-z\\])[A-Za-z]{2,}", text)))
        words |= {word for word, count in counts.items() if count >= WORD_SHARE * len(family_texts)}
    return sorted(words)


def piece_pattern(words: list[str]) -> str:
    """The regular expression that cuts text into pieces; every match is one piece."""
    listed = "|".join(sorted(words, key=len, reverse=True))
    return rf" ?(?<![A-Za-z])(?:{listed})(?![A-Za-z])| [-+*/=] |\\boxed\{{|', '|\['|'\]|, |: |[\s\S]"


def build_tokenizer(seed: int = 0) -> PreTrainedTokenizerFast:
    """Train the tokenizer on prompts of the pretraining split; the same seed gives the same file."""
    texts = _sample_texts(seed)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(piece_pattern(frequent_words(texts))), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, USER, ASSISTANT, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([text for name in FAMILIES for text in texts[name]], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[USER, ASSISTANT],
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def save_tokenizer(folder: Path, seed: int = 0) -> PreTrainedTokenizerFast:
    """Build the tokenizer and write it into a checkpoint folder."""
    tokenizer = build_tokenizer(seed)
    tokenizer.save_pretrained(folder)
    return tokenizer
