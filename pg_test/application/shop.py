"""The card platform as an application has it: SQLAlchemy over psycopg2, through PgBouncer in transaction mode, or with a
login of its user.

Called by pg_test/cluster/application.rs with a connection URL and the name of a scene; prints one line of JSON. Nothing in
here knows that a policy stands behind the database.
"""

import json
import sys
from decimal import Decimal

from sqlalchemy import (BigInteger, Column, ForeignKey, Integer, Numeric, SmallInteger, Text, create_engine, func, insert,
                        select, text, update)
from sqlalchemy.dialects.postgresql import DATE, TIMESTAMP
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, declarative_base, joinedload, relationship, selectinload
from sqlalchemy.orm.attributes import flag_modified

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


def pages(session, size):
    """Every pupil that the user sees, page by page, with what belongs to them; the values that a user would be shown."""
    page = (select(Student).options(joinedload(Student.school), selectinload(Student.guardians), selectinload(Student.cards))
            .order_by(Student.student_id).limit(size))
    seen, offset = [], 0
    while students := session.execute(page.offset(offset)).scalars().all():
        seen += students
        offset += size
    return seen


def desk(session):
    """A teacher's day at a screen that was written before anybody thought of masks."""
    students = pages(session, 100)
    guardians = [guardian for student in students for guardian in student.guardians]
    shown = {"students": len(students), "distinct": len({student.student_id for student in students}),
             "schools": sorted({student.school.school_id for student in students}),
             "cards": sum(len(student.cards) for student in students),
             "values": [[one.name, one.id_card, one.phone, one.address, str(one.birth_date)] for one in students[:20]],
             "guardians": [[one.name, one.phone] for one in guardians[:20]]}
    # The same by a join, and by a statement that the server keeps.
    pairs = session.execute(select(Student.name, Guardian.phone).join(Student.guardians).where(Guardian.relation == "母亲")).all()
    shown["pairs"] = [list(pair) for pair in pairs[:20]]
    session.execute(text("PREPARE pupil(bigint) AS SELECT name, phone, id_card FROM app.student WHERE student_id = $1"))
    shown["prepared"] = [list(session.execute(text("EXECUTE pupil(20)")).one()) for _ in range(8)][-1]
    shown["counted"] = session.execute(select(func.count()).select_from(Student)).scalar()
    # A pupil changes the class: the unit of work writes that alone. Another form writes back what it has loaded.
    moved = session.get(Student, 20)
    moved.class_no = 9
    session.commit()
    saved = session.get(Student, 21)
    saved.class_no = 9
    flag_modified(saved, "phone")
    session.commit()
    # Everything that a form of the browser sent: a detached object is merged into what the session has.
    sent = Student(student_id=22, school_id=1, grade=session.get(Student, 22).grade, class_no=9, name=session.get(Student, 22).name,
                   phone=session.get(Student, 22).phone)
    session.expunge_all()
    session.merge(sent)
    session.commit()
    # A new pupil, whose number is the user's own and comes back masked like any other.
    row = insert(Student).values(school_id=1, grade=5, class_no=1, name="令狐梦瑶", gender="女", birth_date="2016-04-18",
                                 id_card="320583201604189443", phone="17712620418", address="江苏省苏州市昆山市人民路99号",
                                 enrolled_on="2026-11-20").returning(Student.student_id, Student.phone, Student.birth_date)
    number, phone, birth_date = session.execute(row).one()
    shown["returned"] = [phone, str(birth_date)]
    session.add(Guardian(student_id=number, name="令狐建国", relation="父亲", phone="17712620419"))
    session.commit()
    changed = update(Student).where(Student.student_id == number).values(phone="17712620420").returning(Student.phone)
    shown["changed"] = session.execute(changed).scalar()
    session.commit()
    shown["enrolled"] = number
    # A pupil of another school is not there.
    shown["elsewhere"] = session.get(Student, 5000) is None
    return shown


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
    "desk": desk,
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
