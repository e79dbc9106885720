"""Pages of which a part is generated: what stands between two markers."""

from paced_exp.core.errors import UserError


def between(page: str, text: str, name: str, markers: tuple[str, str]) -> str:
    """The page with `text` between its markers. Raises `UserError` where it does not have both once, in order. name: of the page, for the message."""
    begin, end = markers
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise UserError(f"{name} must have {begin} and after it {end}, once each; put them where the text between them belongs")
    return page[: page.index(begin) + len(begin)] + f"\n{text}\n" + page[page.index(end) :]
