"""Graders for the responses of random models, which solve nothing. The real graders have tests of their own."""

from zlib import crc32

from paced_exp.data.problem import Problem


class LengthGrader:
    """Passes responses of an even number of characters."""

    def __enter__(self) -> "LengthGrader":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def grade(self, problems: list[Problem], responses: list[str]) -> list[bool]:
        return [len(response) % 2 == 0 for response in responses]


class HashGrader(LengthGrader):
    """Passes 0, 1/4, ..., 4/4 of the responses to a problem, by checksums, so that every bin of pass rates is filled."""

    def grade(self, problems: list[Problem], responses: list[str]) -> list[bool]:
        return [
            4 * (crc32(response.encode()) % 1000) < 1000 * (crc32(problem.id.encode()) % 5)
            for problem, response in zip(problems, responses, strict=True)
        ]


class EndsGrader(LengthGrader):
    """Passes so many of the responses to a problem, by checksums, that pass rates lie near 0 and 1 and in the middle: `rate_of` the problem."""

    RATES = (0.0, 0.02, 0.06, 0.5, 0.94, 0.98, 1.0)

    def grade(self, problems: list[Problem], responses: list[str]) -> list[bool]:
        return [
            crc32(f"{problem.id} {response}".encode()) % 1000 < 1000 * self.rate_of(problem.id)
            for problem, response in zip(problems, responses, strict=True)
        ]

    @classmethod
    def rate_of(cls, problem_id: str) -> float:
        return cls.RATES[crc32(problem_id.encode()) % len(cls.RATES)]
