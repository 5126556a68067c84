"""What a message carries: its parts, their names and kinds, and what lies in archives. CPU only, bounded, never trusts.

`inspect` tells it as a list of items; `mime` finds the parts, `names` reads what they are called, `kinds` knows content
by its octets, and a module for each container looks into it. Where mail programs differ, all their readings count.
"""
