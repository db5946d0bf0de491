"""OpenAI's Responses API as clients speak it, for answers of any provider."""

from app.providers.protocol import ClientDialect
from app.translation.responses_call import read_call
from app.translation.responses_reply import write_reply
from app.translation.responses_stream import ResponsesWriter

RESPONSES_CLIENT = ClientDialect(read_call=read_call, write_reply=write_reply, open_writer=ResponsesWriter)
