"""The lab's tokenizer: byte-level BPE with one token for each digit and for each frequent word of the prompts.

Text is first cut into pieces, and BPE only merges within a piece. Frequent words, operators with their space, and the box are pieces and become
one token each. Every other character is a piece, so the model sees digits, and the letters of words to spell, one by one.
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
SAMPLE = 4_000  # prompts in which frequent words are counted; each family's templates occur many times
WORD_SHARE = 0.2  # a word is frequent if it is in this share of one family's prompts (simple_equations has three templates)

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
    """Words of two or more letters in at least `WORD_SHARE` of some family's prompts, in alphabetical order."""
    words: set[str] = set()
    for family_texts in texts.values():
        counts = Counter(word for text in family_texts for word in set(re.findall(r"(?<![A-Za-z\\])[A-Za-z]{2,}", text)))
        words |= {word for word, count in counts.items() if count >= WORD_SHARE * len(family_texts)}
    return sorted(words)


def piece_pattern(words: list[str]) -> str:
    """The regular expression whose matches are the pieces of a text."""
    listed = "|".join(sorted(words, key=len, reverse=True))
    return rf" ?(?<![A-Za-z])(?:{listed})(?![A-Za-z])| [-+*/=] |\\boxed\{{|', '|\['|'\]|, |: |[\s\S]"


def build_tokenizer(seed: int = 0) -> PreTrainedTokenizerFast:
    """Train the tokenizer on prompts of the pretraining split. The same seed gives the same file."""
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
