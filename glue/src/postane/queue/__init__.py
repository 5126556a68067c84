"""Between the spool and the doors out: what is tried when, in which order, and what is done with the answer.

    runner   the loop: poll → split by destination → deliver → record → retry, notice or finish
    schedule when to try again, warn and give up         fair       whose message is next
    window   how much one destination takes at once      scheduler  ready and waiting jobs, all together
    telling  what the sender hears, each thing once      control    the operator's socket

All but `runner`, `telling` and `control` are pure: they are told the time and answer at once.
"""
