"""The card platform as an application has it: SQLAlchemy over psycopg2, through PgBouncer in transaction mode.

Called by pg_test/cluster/application.rs with a connection URL and the name of a scene; prints one line of JSON. Nothing in
here knows that a policy stands behind the database.
"""

import json
import sys
from decimal import Decimal

from sqlalchemy import (BigInteger, Column, ForeignKey, Integer, Numeric, SmallInteger, Text, create_engine, func, select,
                        text, update)
from sqlalchemy.dialects.postgresql import DATE, TIMESTAMP
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, declarative_base, joinedload, relationship, selectinload

Base = declarative_base()


class School(Base):
    __tablename__ = "school"
    __table_args__ = {"schema": "app"}
    school_id = Column(Integer, primary_key=True)
    name = Column(Text)


class Student(Base):
    __tablename__ = "student"
    __table_args__ = {"schema": "app"}
    student_id = Column(BigInteger, primary_key=True)
    school_id = Column(ForeignKey(School.school_id))
    grade = Column(SmallInteger)
    class_no = Column(SmallInteger)
    name = Column(Text)
    gender = Column(Text)
    birth_date = Column(DATE)
    id_card = Column(Text)
    phone = Column(Text)
    address = Column(Text)
    enrolled_on = Column(DATE)
    school = relationship(School)
    guardians = relationship("Guardian", back_populates="student")
    cards = relationship("Card", back_populates="student")


class Guardian(Base):
    __tablename__ = "guardian"
    __table_args__ = {"schema": "app"}
    guardian_id = Column(BigInteger, primary_key=True)
    student_id = Column(ForeignKey(Student.student_id))
    name = Column(Text)
    relation = Column(Text)
    phone = Column(Text)
    student = relationship(Student, back_populates="guardians")


class Card(Base):
    __tablename__ = "card"
    __table_args__ = {"schema": "app"}
    card_no = Column(BigInteger, primary_key=True, autoincrement=False)
    student_id = Column(ForeignKey(Student.student_id))
    status = Column(Text)
    balance = Column(Numeric(10, 2))
    student = relationship(Student, back_populates="cards")


class Booking(Base):
    __tablename__ = "card_transaction"
    __table_args__ = {"schema": "app"}
    transaction_id = Column(BigInteger, primary_key=True, autoincrement=True)
    booked_at = Column(TIMESTAMP(timezone=True), primary_key=True, server_default=func.now())
    card_no = Column(ForeignKey(Card.card_no))
    kind = Column(Text)
    amount = Column(Numeric(10, 2))
    merchant = Column(Text)


def read(session):
    """A page of a class with its school, guardians and cards, by joins and by further queries."""
    page = (select(Student).options(joinedload(Student.school), selectinload(Student.guardians), selectinload(Student.cards))
            .where(Student.grade == 3).order_by(Student.student_id).limit(20))
    students = session.execute(page).scalars().all()
    return {"students": len(students), "guardians": sum(len(one.guardians) for one in students),
            "cards": sum(len(one.cards) for one in students), "school": students[0].school is not None}


def work(session):
    """Purchases, and a child that enrols on the web site: keys come back with RETURNING."""
    cards = session.execute(select(Card).where(Card.status == "active", Card.balance > 50).order_by(Card.card_no).limit(10))
    cards = cards.scalars().all()
    for card in cards:
        card.balance -= Decimal("4.50")
        session.add(Booking(card_no=card.card_no, kind="purchase", amount=Decimal("-4.50"), merchant="canteen"))
    session.commit()
    child = Student(school_id=15, grade=5, class_no=1, name="令狐梦瑶", gender="女", birth_date="2016-04-18",
                    id_card="320583201604189443", phone="17712620418", address="昆山市人民路99号", enrolled_on="2026-11-20")
    child.guardians.append(Guardian(name="令狐建国", relation="父亲", phone="17712620419"))
    session.add(child)
    session.commit()
    return {"purchases": len(cards), "enrolled": child.student_id is not None,
            "guardian": child.guardians[0].guardian_id is not None}


def refused(session, statement):
    """A statement that the policy refuses: what the application sees of it, and that its connection goes on."""
    try:
        session.execute(statement)
        session.commit()
    except DBAPIError as error:
        session.rollback()
        alive = session.execute(text("SELECT 1")).scalar() == 1
        return {"sqlstate": error.orig.pgcode, "message": error.orig.diag.message_primary, "alive": alive}
    return {"sqlstate": None}


SCENES = {
    "read": read,
    "work": work,
    "bulk": lambda session: refused(session, update(Student).where(Student.grade == 3).values(phone="13800000000")),
    "break_glass": lambda session: refused(session, text("SELECT steward.break_glass('the canteens cannot take cards')")),
    "arm": lambda session: refused(session, text("SELECT steward.arm('OP-20261122-0001')")),
}


def main():
    url, scene = sys.argv[1:3]
    engine = create_engine(url, pool_size=3, future=True)
    with Session(engine, future=True) as session:
        print(json.dumps(SCENES[scene](session)))


main()
