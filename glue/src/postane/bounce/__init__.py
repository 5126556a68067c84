"""What the sender is told: bounces, delay warnings and confirmations as delivery status notifications.

notices   who is told of what, and where the notice goes     report    the notice itself, as octets (pure)
status    the fields of message/delivery-status (pure)       templates/  the words for people, one file a language
"""
